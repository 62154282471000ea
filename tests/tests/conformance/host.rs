//! What this host can show, found out with the agent of Rust.

use serde_json::{Value, json};

use crate::agents::{Agent, Answer, HANG, reference};
use crate::cases::Case;

/// What there is of isolation.
pub(crate) struct Host {
    /// Why no sandbox can be made, if none can.
    pub(crate) obstacle: Option<String>,
    layers: Value,
}

impl Host {
    pub(crate) fn look() -> Self {
        let mut agent = Agent::start(&reference().command.unwrap(), HANG).unwrap();
        let mut layers = Value::Null;
        for request in [
            json!({"op": "backend_new", "as": "backend", "kind": "linux"}),
            json!({"op": "set_new", "as": "set", "backend": "backend"}),
            json!({"op": "get_or_create_unpaused", "as": "sandbox", "set": "set"}),
            json!({"op": "isolation_report", "set": "set"}),
        ] {
            match agent.ask(&request).unwrap() {
                Answer::Ok(value) => layers = value,
                other => return Host { obstacle: Some(format!("{other:?}")), layers: Value::Null },
            }
        }
        agent.finish().unwrap();
        Host { obstacle: None, layers }
    }

    /// Why a case cannot be shown here, if it cannot.
    pub(crate) fn lacks(&self, backend: &str, case: &Case) -> Option<String> {
        if backend != "linux" {
            return None;
        }
        if let Some(obstacle) = &self.obstacle {
            return Some(obstacle.clone());
        }
        let missing = case.needs.iter().find(|layer| {
            let layer = &self.layers[&***layer];
            assert!(layer.is_string(), "{}: there is no such layer", case.id);
            layer != "active"
        });
        missing.map(|layer| format!("the layer {layer} is not active on this host"))
    }
}
