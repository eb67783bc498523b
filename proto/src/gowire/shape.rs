//! What `gowire` needs to know of each message type, from the compiled descriptors.

use std::{collections::HashMap, sync::LazyLock};

use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// All message types, built once at first use.
pub(super) struct Shapes {
    messages: Vec<MessageShape>,
    by_name: HashMap<String, usize>,
}

/// One message type.
pub(super) struct MessageShape {
    /// By number, ascending.
    fields: Vec<FieldShape>,
    /// No message of this type, however deep, is written differently by prost and by Go.
    pub(super) agrees: bool,
}

/// One field of a message type.
#[derive(Clone, Copy)]
pub(super) struct FieldShape {
    number: u32,
    /// 0 outside of a oneof, else 1 + the position of the oneof in the message.
    oneof: u32,
    pub(super) kind: FieldKind,
}

/// How the value of a field is written.
#[derive(Clone, Copy)]
pub(super) enum FieldKind {
    /// Numbers, enums and booleans.
    Varint,
    /// Strings and bytes.
    Bytes,
    /// A message of the type at this index.
    Message(usize),
    /// A map whose entries are of the type at this index.
    Map(usize),
}

impl Shapes {
    /// The table.
    pub(super) fn get() -> &'static Self {
        static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
            let files = FileDescriptorSet::decode(DESCRIPTORS)
                .expect("the build script wrote the descriptors");
            Shapes::new(&files)
        });
        &SHAPES
    }

    /// The type with this full name, without a leading dot.
    pub(super) fn named(&self, name: &str) -> Option<&MessageShape> {
        self.by_name.get(name).map(|&index| self.at(index))
    }

    /// The type at an index found in a [`FieldKind`].
    pub(super) fn at(&self, index: usize) -> &MessageShape {
        &self.messages[index]
    }

    fn new(files: &FileDescriptorSet) -> Self {
        let mut types = Vec::new();
        for file in &files.file {
            for message in &file.message_type {
                collect(file.package(), message, &mut types);
            }
        }
        let by_name: HashMap<String, usize> = types
            .iter()
            .enumerate()
            .map(|(index, (name, _))| (name.clone(), index))
            .collect();
        let messages = types
            .iter()
            .map(|(_, message)| MessageShape::new(message, &types, &by_name))
            .collect();
        let mut shapes = Self { messages, by_name };
        shapes.mark_differing();
        shapes
    }

    /// Spreads "prost and Go differ" from the types where they do to all types that contain them.
    fn mark_differing(&mut self) {
        loop {
            let differing: Vec<usize> = (0..self.messages.len())
                .filter(|&index| {
                    let shape = self.at(index);
                    shape.agrees
                        && shape.fields.iter().any(|field| match field.kind {
                            FieldKind::Map(_) => true,
                            FieldKind::Message(nested) => !self.at(nested).agrees,
                            FieldKind::Varint | FieldKind::Bytes => false,
                        })
                })
                .collect();
            if differing.is_empty() {
                return;
            }
            for index in differing {
                self.messages[index].agrees = false;
            }
        }
    }
}

/// Gathers a message and those declared inside it, under their full names.
fn collect<'a>(
    scope: &str,
    message: &'a DescriptorProto,
    types: &mut Vec<(String, &'a DescriptorProto)>,
) {
    let name = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        collect(&name, nested, types);
    }
    types.push((name, message));
}

impl MessageShape {
    fn new(
        message: &DescriptorProto,
        types: &[(String, &DescriptorProto)],
        by_name: &HashMap<String, usize>,
    ) -> Self {
        let mut fields: Vec<FieldShape> = message
            .field
            .iter()
            .map(|field| {
                let kind = match field.r#type() {
                    Type::Message => {
                        let index = by_name[field.type_name().trim_start_matches('.')];
                        let is_entry = types[index]
                            .1
                            .options
                            .as_ref()
                            .is_some_and(|o| o.map_entry());
                        if is_entry && field.label() == Label::Repeated {
                            FieldKind::Map(index)
                        } else {
                            FieldKind::Message(index)
                        }
                    }
                    Type::String | Type::Bytes => FieldKind::Bytes,
                    _ => FieldKind::Varint,
                };
                // A proto3 `optional` field is wrapped in a oneof that exists on paper only.
                let oneof = match field.oneof_index {
                    Some(index) if !field.proto3_optional() => index.unsigned_abs() + 1,
                    _ => 0,
                };
                FieldShape {
                    number: field.number().unsigned_abs(),
                    oneof,
                    kind,
                }
            })
            .collect();
        fields.sort_by_key(|field| field.number);
        let agrees = fields.is_sorted_by_key(|field| (field.oneof, field.number));
        Self { fields, agrees }
    }

    /// The field with this number, if the type has one.
    pub(super) fn field(&self, number: u32) -> Option<&FieldShape> {
        let index = self
            .fields
            .binary_search_by_key(&number, |field| field.number)
            .ok()?;
        Some(&self.fields[index])
    }

    /// Sorting key of a field in Go's order.
    pub(super) fn rank(&self, number: u32) -> (u32, u32) {
        (
            self.field(number).map_or(u32::MAX, |field| field.oneof),
            number,
        )
    }
}
