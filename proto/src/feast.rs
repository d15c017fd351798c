//! The messages of a Feast registry, wire-compatible with Feast 0.67, generated from `protos/feast`.

/// A serialized `FileDescriptorSet` of everything in [`core`] and [`types`], for code that works on any message.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/feast_descriptors.bin"));

/// Package `feast.core`: the registry and its objects.
#[expect(
    missing_docs,
    clippy::use_self,
    clippy::large_enum_variant,
    reason = "generated from the `.proto` files, which carry the words"
)]
pub mod core {
    include!(concat!(env!("OUT_DIR"), "/feast.core.rs"));
}

/// Package `feast.types`: value types by number.
#[expect(missing_docs, reason = "generated from the `.proto` files, which carry the words")]
pub mod types {
    include!(concat!(env!("OUT_DIR"), "/feast.types.rs"));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_reflect::{Cardinality, DescriptorPool, Kind, MessageDescriptor};

    /// Every field and enum value of Feast 0.67 that a registry reaches (`tests/feast_descriptors.py` writes it).
    const FEAST: &str = include_str!("../testdata/feast-fields.txt");

    fn kind_text(kind: &Kind) -> String {
        match kind {
            Kind::Message(message) => format!("message {}", message.full_name()),
            Kind::Enum(values) => format!("enum {}", values.full_name()),
            scalar => format!("{scalar:?}").to_lowercase(),
        }
    }

    fn lines_of(root: MessageDescriptor) -> BTreeSet<String> {
        let (mut lines, mut seen, mut todo) = (BTreeSet::new(), BTreeSet::new(), vec![root]);
        while let Some(message) = todo.pop() {
            let name = message.full_name().to_owned();
            if !name.starts_with("feast.") || !seen.insert(name.clone()) {
                continue;
            }
            for field in message.fields() {
                let repeated = field.cardinality() == Cardinality::Repeated;
                let label = if repeated { "repeated" } else { "singular" };
                let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
                let oneof = oneof.map(|oneof| format!(" in {}", oneof.name())).unwrap_or_default();
                let kind = kind_text(&field.kind());
                lines.insert(format!("{name} {} {} {label} {kind}{oneof}", field.number(), field.name()));
                match field.kind() {
                    Kind::Message(inner) => todo.push(inner),
                    Kind::Enum(values) => {
                        let line =
                            |name: &str, number: i32| format!("{} = {number} {name}", values.full_name());
                        lines.extend(values.values().map(|value| line(value.name(), value.number())));
                    }
                    _ => {}
                }
            }
        }
        lines
    }

    #[test]
    fn our_messages_have_exactly_the_fields_of_feast() {
        let pool = DescriptorPool::decode(super::DESCRIPTORS).unwrap();
        let ours = lines_of(pool.get_message_by_name("feast.core.Registry").unwrap());
        let feast: BTreeSet<_> = FEAST.lines().map(str::to_owned).collect();
        let missing: Vec<_> = feast.difference(&ours).collect();
        let extra: Vec<_> = ours.difference(&feast).collect();
        assert!(missing.is_empty() && extra.is_empty(), "missing {missing:#?}, too many {extra:#?}");
        assert!(ours.len() > 400, "{}", ours.len());
    }

    #[test]
    fn nothing_is_compiled_that_a_registry_does_not_reach() {
        let pool = DescriptorPool::decode(super::DESCRIPTORS).unwrap();
        let reached = lines_of(pool.get_message_by_name("feast.core.Registry").unwrap());
        for message in pool.all_messages().filter(|message| message.fields().len() > 0) {
            let name = message.full_name();
            let prefix = format!("{name} ");
            let is_reached = reached.iter().any(|line| line.starts_with(&prefix));
            assert!(is_reached || name.starts_with("google."), "{name}");
        }
    }

    #[test]
    fn an_unknown_enum_number_survives() {
        let field = super::core::FeatureSpecV2 { value_type: 31, ..Default::default() };
        let bytes = field.encode_to_vec();
        assert_eq!(super::core::FeatureSpecV2::decode(&bytes[..]).unwrap().value_type, 31);
    }

    #[test]
    fn equal_messages_are_equal_bytes() {
        let tags = |order: &[i32]| super::core::FeatureSpecV2 {
            tags: order.iter().map(|n| (format!("tag {n}"), n.to_string())).collect(),
            ..Default::default()
        };
        assert_eq!(tags(&[1, 2, 3, 4, 5]).encode_to_vec(), tags(&[5, 3, 1, 4, 2]).encode_to_vec());
    }
}
