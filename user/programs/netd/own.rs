//! The network server inside the program that uses it: see [`runtime::socket::own`].

use super::{Calls, Network};
use abi::service::Stack;
use runtime::Result;
use runtime::socket::own::Inside;
use runtime::sys::Lent;

/// Calls that may be answered, one after the other, without a look at what other programs ask.
const UNHEARD_MAX: u32 = 8;

/// A network server whose user is in the same process.
pub struct Own {
    stack: Stack,
    network: Network,
    unheard: u32,
}

impl Own {
    /// `network`, the server of `stack`.
    pub const fn new(stack: Stack, network: Network) -> Self {
        Own {
            stack,
            network,
            unheard: 0,
        }
    }
}

impl Inside for Own {
    fn stack(&self) -> Stack {
        self.stack
    }

    fn call(
        &mut self,
        request: &[u8],
        answer: &mut [u8],
        leases: &mut [Lent<'_>],
    ) -> Result<usize> {
        let Own {
            network, unheard, ..
        } = self;
        let (mut calls, message) = Calls::with_own(request, leases)?;
        network.request(&message, &mut calls);
        if *unheard == UNHEARD_MAX {
            network.wait(&mut calls)?; // it does not sleep, since there is a request
            *unheard = 0;
        }
        *unheard += 1;
        loop {
            network.poll(&mut calls);
            if let Some(result) = calls.answered(answer) {
                // Nobody knows when the program calls again.
                network.flush();
                return result;
            }
            network.wait(&mut calls)?;
            *unheard = 0;
        }
    }
}
