//! A network server in the program that uses it.
//!
//! What is a message to `netd` for others is a function call for such a program. That spares two
//! switches between address spaces for each thing that a client asks for, which is most of what a
//! short answer costs. Other programs are served as ever, whenever this one waits in a call; and
//! when it ends, their sockets end with it.

use super::{Place, Server};
use crate::Result;
use crate::network::{Calls, Network};
use crate::sys::Lent;
use abi::service::Stack;
use alloc::boxed::Box;
use spin::Mutex;

/// Calls that may be answered, one after the other, without a look at what other programs ask.
const UNHEARD_MAX: u32 = 8;

/// The program's server: a trait object, so that programs without one are not linked with it.
static OWN: Mutex<Option<Box<dyn Inside + Send>>> = Mutex::new(None);

/// A server inside this process.
trait Inside {
    /// The stack it is.
    fn stack(&self) -> Stack;

    /// As [`crate::sys::call`].
    fn call(&mut self, request: &[u8], answer: &mut [u8], leases: &mut [Lent<'_>])
    -> Result<usize>;
}

struct Own {
    stack: Stack,
    network: Network,
    unheard: u32,
}

/// Makes `network`, the server of `stack`, the program's own.
pub fn install(stack: Stack, network: Network) -> Server {
    *OWN.lock() = Some(Box::new(Own {
        stack,
        network,
        unheard: 0,
    }));
    Server { place: Place::Here }
}

/// The program's own server, if it is that stack's.
pub(super) fn of(stack: Stack) -> Option<Server> {
    let own = OWN.lock();
    let has = own.as_ref().is_some_and(|own| own.stack() == stack);
    has.then_some(Server { place: Place::Here })
}

/// Calls it.
pub(super) fn call(request: &[u8], answer: &mut [u8], leases: &mut [Lent<'_>]) -> Result<usize> {
    match OWN.lock().as_mut() {
        Some(own) => own.call(request, answer, leases),
        None => Err(crate::Error::NotFound),
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
