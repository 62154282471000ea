//! Whether a value is what a case expects.

use std::collections::HashMap;

use serde_json::Value;

/// What earlier steps of a case remembered.
pub(crate) type Saved = HashMap<String, Value>;

/// Compares a value with a pattern; the error says where they differ.
pub(crate) fn compare(pattern: &Value, value: &Value, saved: &mut Saved) -> Result<(), String> {
    compare_at("", pattern, value, saved)
}

fn compare_at(place: &str, pattern: &Value, value: &Value, saved: &mut Saved) -> Result<(), String> {
    let differ = || Err(format!("{place} is {value}, not {pattern}"));
    match pattern {
        Value::Object(members) if members.keys().any(|name| name.starts_with('$')) => {
            assert_eq!(members.len(), 1, "{pattern} asks for several things at once");
            for (kind, wanted) in members {
                if !special(kind, wanted, value, saved) {
                    return Err(format!("{place} is {value}, but should be {pattern}, {saved:?}"));
                }
            }
            Ok(())
        }
        Value::Object(members) => {
            if !value.is_object() {
                return differ();
            }
            members.iter().try_for_each(|(name, pattern)| {
                compare_at(&format!("{place}.{name}"), pattern, &value[name], saved)
            })
        }
        Value::Array(patterns) => match value {
            Value::Array(values) if values.len() == patterns.len() => {
                patterns.iter().zip(values).enumerate().try_for_each(|(index, (pattern, value))| {
                    compare_at(&format!("{place}[{index}]"), pattern, value, saved)
                })
            }
            _ => differ(),
        },
        _ if pattern == value => Ok(()),
        _ => differ(),
    }
}

fn special(kind: &str, wanted: &Value, value: &Value, saved: &mut Saved) -> bool {
    let remembered = |saved: &Saved| {
        let name = wanted.as_str().unwrap();
        saved.get(name).unwrap_or_else(|| panic!("nothing was remembered as {name}")).clone()
    };
    match kind {
        "$save" => {
            saved.insert(wanted.as_str().unwrap().to_owned(), value.clone());
            true
        }
        "$same" => remembered(saved) == *value,
        "$other" => remembered(saved) != *value,
        "$has" => match value {
            Value::String(text) => text.contains(wanted.as_str().unwrap()),
            Value::Array(values) => values.contains(wanted),
            _ => false,
        },
        "$least" => value.as_f64().is_some_and(|number| number >= wanted.as_f64().unwrap()),
        "$most" => value.as_f64().is_some_and(|number| number <= wanted.as_f64().unwrap()),
        "$absent" => value.is_null(),
        other => panic!("no pattern {other}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_tell_right_from_wrong() {
        let cases = [
            (json!({"a": 1}), json!({"a": 1, "b": 2}), true),
            (json!({"a": 1}), json!({"a": 2}), false),
            (json!({"a": 1}), json!({}), false),
            (json!({"a": 1}), json!([1]), false),
            (json!([1, 2]), json!([1, 2]), true),
            (json!([1, 2]), json!([1, 2, 3]), false),
            (json!([]), json!({}), false),
            (json!(1), json!("1"), false),
            (json!({"$has": "b"}), json!("abc"), true),
            (json!({"$has": "b"}), json!("ac"), false),
            (json!({"$has": {"a": 1}}), json!([{"a": 1}]), true),
            (json!({"$has": "b"}), json!(["a"]), false),
            (json!({"$least": 2}), json!(2), true),
            (json!({"$least": 2}), json!(1), false),
            (json!({"$least": 2}), json!("3"), false),
            (json!({"$most": 2}), json!(3), false),
            (json!({"a": {"$absent": true}}), json!({}), true),
            (json!({"a": {"$absent": true}}), json!({"a": 0}), false),
            (json!({"$same": "seven"}), json!(7), true),
            (json!({"$same": "seven"}), json!(8), false),
            (json!({"$other": "seven"}), json!(7), false),
        ];
        for (pattern, value, matches) in cases {
            let mut saved = Saved::from([("seven".to_owned(), json!(7))]);
            assert_eq!(compare(&pattern, &value, &mut saved).is_ok(), matches, "{pattern} {value}");
        }
        let mut saved = Saved::new();
        compare(&json!([{"$save": "x"}, {"$same": "x"}]), &json!([1, 1]), &mut saved).unwrap();
        compare(&json!([{"$save": "x"}, {"$same": "x"}]), &json!([1, 2]), &mut saved).unwrap_err();
    }
}
