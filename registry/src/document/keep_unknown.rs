//! Carries fields that we do not know from an object's old bytes into its new ones.
//!
//! A later Feast may write fields that our messages lack. When we rewrite such an object, those fields stay with the
//! part that they belong to: the object itself, its spec, a feature of the same name, the source of the same view.

use prost_reflect::{DynamicMessage, MapKey, ReflectMessage, Value};

use crate::document::message;

/// The fields that tell the items of a list apart, by message.
const ITEM_KEYS: [(&str, &[&str]); 4] = [
    ("feast.core.FeatureSpecV2", &["name"]),
    ("feast.core.FeatureViewProjection", &["feature_view_name", "feature_view_name_alias"]),
    ("feast.core.MaterializationInterval", &["start_time", "end_time"]),
    ("feast.core.Aggregation", &["column", "function", "time_window", "slide_interval", "name"]),
];

/// `new` with every unknown field of `old`; `None` when the message is not one of ours.
pub(crate) fn keep_unknown(full_name: &str, old: &[u8], new: Vec<u8>) -> Option<Vec<u8>> {
    let old = message::decode(full_name, old)?;
    if !has_unknown(&old) {
        return Some(new);
    }
    let mut merged = message::decode(full_name, &new)?;
    carry(&old, &mut merged)?;
    Some(prost::Message::encode_to_vec(&merged))
}

fn has_unknown(message: &DynamicMessage) -> bool {
    message.unknown_fields().next().is_some() || message.fields().any(|(_, value)| value_has_unknown(value))
}

fn value_has_unknown(value: &Value) -> bool {
    match value {
        Value::Message(message) => has_unknown(message),
        Value::List(items) => items.iter().any(value_has_unknown),
        Value::Map(entries) => entries.values().any(value_has_unknown),
        Value::Bool(_)
        | Value::I32(_)
        | Value::I64(_)
        | Value::U32(_)
        | Value::U64(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::String(_)
        | Value::Bytes(_)
        | Value::EnumNumber(_) => false,
    }
}

fn carry(old: &DynamicMessage, new: &mut DynamicMessage) -> Option<()> {
    let mut unknown = Vec::new();
    for field in old.unknown_fields() {
        field.encode(&mut unknown);
    }
    prost::Message::merge(new, unknown.as_slice()).ok()?;
    for (field, old_value) in old.fields() {
        if !value_has_unknown(old_value) || !new.has_field(&field) {
            continue;
        }
        match (old_value, new.get_field_mut(&field)) {
            (Value::Message(old), Value::Message(new)) => carry(old, new)?,
            (Value::List(old), Value::List(new)) => carry_list(old, new)?,
            (Value::Map(old), Value::Map(new)) => {
                for (key, old) in old {
                    carry_entry(old, new, key)?;
                }
            }
            _ => {}
        }
    }
    Some(())
}

fn carry_entry(old: &Value, new: &mut std::collections::HashMap<MapKey, Value>, key: &MapKey) -> Option<()> {
    match (old, new.get_mut(key)) {
        (Value::Message(old), Some(Value::Message(new))) => carry(old, new),
        _ => Some(()),
    }
}

fn carry_list(old: &[Value], new: &mut [Value]) -> Option<()> {
    for old in old.iter().filter_map(Value::as_message) {
        let twin =
            new.iter_mut().filter_map(Value::as_message_mut).find(|new| item_key(new) == item_key(old));
        if let Some(twin) = twin {
            carry(old, twin)?;
        }
    }
    Some(())
}

/// What tells this item of a list apart.
fn item_key(item: &DynamicMessage) -> Vec<Value> {
    let name = item.descriptor().full_name().to_owned();
    let keys = ITEM_KEYS.iter().find(|(message, _)| *message == name).map_or(&["name"][..], |(_, keys)| keys);
    keys.iter().filter_map(|key| item.get_field_by_name(key)).map(std::borrow::Cow::into_owned).collect()
}

#[cfg(test)]
mod tests {
    use backsight_proto::feast::core;
    use prost::Message;

    use super::keep_unknown;

    const NAME: &str = "feast.core.FeatureView";
    /// Field 2000 = 7, which no message of ours has.
    const UNKNOWN: [u8; 3] = [0x80, 0x7d, 7];

    fn view(features: &[&str], description: &str) -> core::FeatureView {
        let features = features
            .iter()
            .map(|name| core::FeatureSpecV2 { name: (*name).to_owned(), ..Default::default() });
        core::FeatureView {
            spec: Some(core::FeatureViewSpec {
                name: "v".to_owned(),
                features: features.collect(),
                description: description.to_owned(),
                ..Default::default()
            }),
            meta: None,
        }
    }

    /// Appends the unknown field to the innermost message that `path` (field numbers) leads to.
    fn with_unknown(message: &[u8], path: &[u32]) -> Vec<u8> {
        let Some((first, rest)) = path.split_first() else { return [message, &UNKNOWN].concat() };
        let fields = crate::wire::split_fields(&bytes::Bytes::copy_from_slice(message)).unwrap();
        let mut done = false;
        let parts = fields.iter().map(|field| {
            if field.number == *first && !done {
                done = true;
                let inner = with_unknown(field.payload.as_deref().unwrap(), rest);
                return crate::wire::WireField::length_delimited(*first, &inner).whole.to_vec();
            }
            field.whole.to_vec()
        });
        parts.collect::<Vec<_>>().concat()
    }

    #[test]
    fn without_unknown_fields_the_new_bytes_are_taken_as_they_are() {
        let new = view(&["b"], "new").encode_to_vec();
        assert_eq!(keep_unknown(NAME, &view(&["a"], "old").encode_to_vec(), new.clone()), Some(new));
    }

    #[test]
    fn unknown_fields_stay_with_the_object_its_spec_and_its_features() {
        let paths: [&[u32]; 3] = [&[], &[1], &[1, 4]];
        for path in paths {
            let old = with_unknown(&view(&["a", "b"], "old").encode_to_vec(), path);
            let new = view(&["b", "a"], "new");
            let kept = keep_unknown(NAME, &old, new.encode_to_vec()).unwrap();
            assert_eq!(core::FeatureView::decode(&kept[..]).unwrap(), new, "what we know is new: {path:?}");
            let position = kept.windows(3).position(|window| window == UNKNOWN).expect("kept");
            if path.len() == 2 {
                let name_of_b = kept.iter().position(|byte| *byte == b'b').unwrap();
                let name_of_a = kept.iter().rposition(|byte| *byte == b'a').unwrap();
                assert!(name_of_b < name_of_a && name_of_a < position, "it is part of `a`");
            }
        }
    }

    #[test]
    fn the_unknown_part_of_what_is_gone_goes_with_it() {
        let old = with_unknown(&view(&["a", "b"], "old").encode_to_vec(), &[1, 4]);
        let new = view(&["b"], "new").encode_to_vec();
        assert_eq!(keep_unknown(NAME, &old, new.clone()), Some(new));
    }
}
