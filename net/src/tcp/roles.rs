//! Whose a connection is, and the lists that it is in because of that.

use crate::names::ConnectionId;
use crate::tcp::{Role, Tcp};

impl Tcp {
    /// Gives a connection another role.
    pub(super) fn set_role(&mut self, id: ConnectionId, role: Role) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let old = core::mem::replace(&mut connection.role, role);
        let port = connection.tuple.port;
        self.leave_role(id, port, old);
        self.enter_role(id, port, role);
    }

    pub(super) fn enter_role(&mut self, id: ConnectionId, port: u16, role: Role) {
        match role {
            Role::Waiting => {
                if let Some(listener) = self.listeners.get_mut(&port) {
                    listener.ready.push_back(id);
                    self.changed_listeners.insert(port);
                }
            }
            Role::Opening | Role::Held => {}
            Role::Orphan { deadline, .. } => self.orphans.set(id.0, deadline),
            Role::Dying { until } => self.dying.set(id.0, until),
        }
    }

    pub(super) fn leave_role(&mut self, id: ConnectionId, port: u16, role: Role) {
        match role {
            Role::Waiting => {
                if let Some(listener) = self.listeners.get_mut(&port) {
                    listener.ready.retain(|&ready| ready != id);
                    self.changed_listeners.insert(port);
                }
            }
            Role::Opening | Role::Held => {}
            Role::Orphan { .. } => self.orphans.clear(id.0),
            Role::Dying { .. } => self.dying.clear(id.0),
        }
    }
}
