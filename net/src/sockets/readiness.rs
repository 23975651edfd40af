//! Waiting on several sockets at once.

use crate::ipc::{Ipc, read_exactly, write_exactly};
use crate::phy::Device;
use crate::sockets::Sockets;
use crate::sockets::call::Call;
use abi::socket::{Answer, POLL_FOREVER, POLL_MAX, PollEntry, poll};
use abi::{Error, Result};
use alloc::vec::Vec;

/// Bits that are told though nobody asked.
const ALWAYS: u16 = poll::ERROR | poll::HANG_UP | poll::INVALID;

impl<D: Device> Sockets<D> {
    #[cold]
    pub(crate) fn poll_sockets(
        &mut self,
        call: &mut Call,
        timeout_ms: u32,
        now: u64,
        ipc: &mut impl Ipc,
    ) -> Result<Option<Answer>> {
        if !call.begun {
            call.entries = read_entries(call, ipc)?;
            call.begun = true;
            let timeout = u64::from(timeout_ms) * 1_000_000;
            call.deadline = (timeout_ms != POLL_FOREVER).then(|| now.saturating_add(timeout));
        }
        let client = call.client;
        let mut count = 0;
        for entry in &mut call.entries {
            entry.ready = self.readiness(entry, client) & (entry.wanted | ALWAYS);
            count += u32::from(entry.ready != 0);
        }
        if count == 0 && call.deadline.is_none_or(|deadline| now < deadline) {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(call.entries.len() * PollEntry::SIZE);
        for entry in &call.entries {
            bytes.extend_from_slice(&entry.to_bytes());
        }
        write_exactly(ipc, call.token, 0, &bytes)?;
        Ok(Some(Answer::Count(count)))
    }
}

fn read_entries(call: &Call, ipc: &mut impl Ipc) -> Result<Vec<PollEntry>> {
    if call.lent > POLL_MAX * PollEntry::SIZE || !call.lent.is_multiple_of(PollEntry::SIZE) {
        return Err(Error::InvalidArgument);
    }
    let mut bytes = alloc::vec![0; call.lent];
    read_exactly(ipc, call.token, (0, 0), &mut bytes)?;
    let (entries, _) = bytes.as_chunks::<{ PollEntry::SIZE }>();
    Ok(entries.iter().map(PollEntry::from_bytes).collect())
}
