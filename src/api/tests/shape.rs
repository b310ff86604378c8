//! Compares live answers with the document's examples: the same keys and the same types, both ways.

use serde_json::Value;

/// A literal example of `pbx-rest-api.md`.
pub fn example(name: &str) -> Value {
    let path = format!("{}/tests/data/api/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))).unwrap()
}

/// `nullable` names keys that may be null where the example has a value; `ours` names keys the document does not have.
#[track_caller]
pub fn assert_same_shape(example: &Value, live: &Value, nullable: &[&str], ours: &[&str]) {
    if let Err(difference) = compare(example, live, nullable, ours) {
        panic!("{difference}\ndocumented: {example:#}\nanswered: {live:#}");
    }
}

fn compare(example: &Value, live: &Value, nullable: &[&str], ours: &[&str]) -> Result<(), String> {
    match (example, live) {
        (Value::Object(documented), Value::Object(answered)) => {
            for (key, value) in documented {
                let answer = answered.get(key).ok_or_else(|| format!("`{key}` is missing"))?;
                if !(answer.is_null() && nullable.contains(&key.as_str())) {
                    compare(value, answer, nullable, ours).map_err(|e| format!("{key}: {e}"))?;
                }
            }
            match answered.keys().find(|key| !documented.contains_key(*key) && !ours.contains(&key.as_str())) {
                Some(key) => Err(format!("`{key}` is not documented")),
                None => Ok(()),
            }
        }
        (Value::Array(documented), Value::Array(answered)) => {
            let first = documented.first().ok_or("the example is empty")?;
            if answered.is_empty() {
                return Err("nothing to compare".to_string());
            }
            answered.iter().try_for_each(|answer| compare(first, answer, nullable, ours))
        }
        (Value::Number(documented), Value::Number(answered)) if documented.is_f64() == answered.is_f64() => Ok(()),
        (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => Ok(()),
        _ => Err(format!("{live} is of another type than {example}")),
    }
}
