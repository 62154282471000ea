//! Ways to be wrong, one at a time. The driver's own test has the list of their names.

use std::cell::Cell;

use serde_json::{Value, json};

/// How this agent is wrong.
pub(crate) struct Lie {
    name: String,
    asked: Cell<u64>,
}

impl Lie {
    pub(crate) fn new(name: String) -> Self {
        Lie { name, asked: Cell::new(0) }
    }

    /// What the agent says instead of the truth, which `honest` finds out.
    pub(crate) fn answer(&self, request: &Value, honest: impl FnOnce() -> Value) -> Value {
        self.asked.set(self.asked.get() + 1);
        let operation = request["op"].as_str().unwrap_or_default();
        match (&*self.name, operation) {
            ("dies", _) if self.asked.get() == 4 => std::process::exit(0),
            ("falls_silent", _) if self.asked.get() == 4 => loop {
                std::thread::park();
            },
            ("talks_nonsense", _) if self.asked.get() == 4 => return json!("ok"),
            ("supports_nothing", _) => return json!({"unsupported": "too much work"}),
            ("puts_nothing", "put") | ("destroys_nothing", "destroy") | ("cancels_nothing", "cancel") => {
                return json!({"ok": null});
            }
            _ => {}
        }
        let mut answer = honest();
        if answer.get("error").is_some() {
            self.twist_error(&mut answer);
        } else if answer["ok"].is_object() {
            self.twist_result(operation, &mut answer["ok"]);
        } else if self.name == "sees_no_event" && operation == "next_event" {
            answer = json!({"ok": null});
        } else if self.name == "reads_nothing" && answer["ok"].is_string() {
            answer = json!({"ok": ""});
        }
        answer
    }

    pub(crate) fn exit_code(&self) -> i32 {
        i32::from(self.name == "ends_badly")
    }

    fn twist_error(&self, answer: &mut Value) {
        let error = &mut answer["error"];
        match &*self.name {
            "never_fails" => *answer = json!({"ok": null}),
            "confuses_codes" => error["code"] = json!(31),
            "confuses_names" => error["name"] = json!("INTERNAL"),
            "confuses_phases" => error["phase"] = json!("use"),
            "retries_nothing" => error["retryable"] = json!(false),
            "retries_everything" => error["retryable"] = json!(true),
            "names_no_field" => error["field"] = Value::Null,
            "names_no_sandbox" => error["sandbox_id"] = Value::Null,
            "is_speechless" => error["message"] = json!(""),
            "knows_no_cause" => error["cause"] = json!(""),
            _ => {}
        }
    }

    fn twist_result(&self, operation: &str, result: &mut Value) {
        match (&*self.name, operation) {
            ("knows_one_sandbox", "get_or_create_unpaused") => result["id"] = json!(1),
            ("counts_no_uses", "get_or_create_unpaused") => result["uses"] = json!(1),
            ("counts_nothing", "stats") => {
                for counter in result.as_object_mut().into_iter().flatten() {
                    *counter.1 = if counter.1.is_object() { json!({}) } else { json!(0) };
                }
            }
            ("destroys_for_no_reason", "stats") => result["destroyed_by"] = json!({}),
            ("always_exits", "exec" | "wait") => result["outcome"] = json!("exited"),
            ("always_succeeds", "exec" | "wait") => result["exit_code"] = json!(0),
            ("swallows_output", "exec" | "wait") => result["stdout"] = json!(""),
            ("drops_nothing", "exec" | "wait") => result["stdout_dropped"] = json!(0),
            ("always_holds", "inspect") => result["state"] = json!("held"),
            ("forgets_the_order", "next_event") => result["sequence"] = json!(1),
            ("sees_no_event", "next_event") => *result = Value::Null,
            ("confuses_events", "next_event") => result["kind"] = json!("create"),
            ("leaves_nothing", "close") => result["survivors"] = json!(0),
            _ => {}
        }
    }
}
