//! A network server in the program that uses it.
//!
//! What is a message to `netd` for others is a function call for such a program. That spares two
//! switches between address spaces for each thing that a client asks for, which is most of what a
//! short answer costs. Other programs are served as ever, whenever this one waits in a call; and
//! when it ends, their sockets end with it.

use super::{Place, Server};
use crate::Result;
use crate::sys::Lent;
use abi::service::Stack;
use alloc::boxed::Box;
use spin::Mutex;

/// The program's server: a trait object, so that programs without one are not linked with it.
static OWN: Mutex<Option<Box<dyn Inside + Send>>> = Mutex::new(None);

/// A server inside this process.
pub trait Inside {
    /// The stack it is.
    fn stack(&self) -> Stack;

    /// As [`crate::sys::call`].
    ///
    /// # Errors
    /// As there.
    fn call(&mut self, request: &[u8], answer: &mut [u8], leases: &mut [Lent<'_>])
    -> Result<usize>;
}

/// Makes `server` the program's own.
pub fn install(server: impl Inside + Send + 'static) {
    *OWN.lock() = Some(Box::new(server));
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
