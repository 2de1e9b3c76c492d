//! Our protos against the wire tables: names, numbers, types, repetition and streams must be those that deployed
//! clients were built with.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use moothall::grpc::proto::DESCRIPTORS;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};

const TABLES: &str = include_str!("../../wire/tables.md");
/// The first two number the same messages.
const PACKAGES: [&str; 3] = ["fleet.orchestrator.v1", "orchestrator.v1", "fleet.ray_executor.v1"];

/// One line per fact, such as `orchestrator.v1 Proposal.revisions = 5 repeated string`.
type Facts = BTreeSet<String>;

fn written() -> Result<Facts> {
    let mut facts = Facts::new();
    let mut package = "";
    for line in TABLES.lines() {
        if let Some(service) = line.strip_prefix("service `").and_then(|rest| rest.strip_suffix('`')) {
            let (of, name) = service.rsplit_once('.').context("a service has a package")?;
            package = of;
            facts.insert(format!("{package} service {name}"));
        } else if let Some(row) = line.strip_prefix("| ").and_then(|rest| rest.strip_suffix(" |")) {
            let cells: Vec<_> = row.split(" | ").collect();
            if cells != ["rpc", "request", "response"] {
                facts.insert(format!("{package} rpc {}({}) returns ({})", cells[0], cells[1], cells[2]));
            }
        } else if let Some((name, values)) = line.strip_prefix("- enum **").and_then(|rest| rest.split_once("**: ")) {
            facts.extend(values.split(", ").map(|value| format!("{package} enum {name}: {value}")));
        } else if let Some((name, fields)) = line.strip_prefix("- **").and_then(|rest| rest.split_once("**: ")) {
            for field in fields.split("; ").filter(|field| *field != "(empty)") {
                let [field, number, kind] = field.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                    bail!("{field:?} is not name, number and type");
                };
                facts.insert(format!("{package} {name}.{field} = {number} {kind}"));
            }
        }
    }
    Ok(facts)
}

fn compiled() -> Result<Facts> {
    let files = FileDescriptorSet::decode(DESCRIPTORS)?.file;
    Ok(files.iter().filter(|file| PACKAGES.contains(&file.package())).flat_map(facts_of).collect())
}

fn facts_of(file: &FileDescriptorProto) -> Facts {
    let package = file.package();
    let short = |name: &str| name.trim_start_matches(&format!(".{package}.")).to_owned();
    let mut facts = Facts::new();
    for service in &file.service {
        facts.insert(format!("{package} service {}", service.name()));
        for rpc in &service.method {
            assert!(!rpc.client_streaming(), "{} takes a stream", rpc.name());
            let stream = if rpc.server_streaming() { "stream " } else { "" };
            let (from, to) = (short(rpc.input_type()), short(rpc.output_type()));
            facts.insert(format!("{package} rpc {}({from}) returns ({stream}{to})", rpc.name()));
        }
    }
    for kind in &file.enum_type {
        let values = kind.value.iter();
        facts
            .extend(values.map(|value| format!("{package} enum {}: {} {}", kind.name(), value.name(), value.number())));
    }
    for message in &file.message_type {
        facts.extend(message.field.iter().map(|field| {
            format!(
                "{package} {}.{} = {} {}",
                message.name(),
                field.name(),
                field.number(),
                written_type(message, field, &short)
            )
        }));
    }
    facts
}

fn written_type(message: &DescriptorProto, field: &FieldDescriptorProto, short: &impl Fn(&str) -> String) -> String {
    let entry = message.nested_type.iter().find(|nested| {
        nested.options.as_ref().is_some_and(|options| options.map_entry())
            && field.type_name().ends_with(&format!(".{}.{}", message.name(), nested.name()))
    });
    if let Some(entry) = entry {
        let types: Vec<_> = entry.field.iter().map(|field| single_type(field, short)).collect();
        return format!("map<{}>", types.join(","));
    }
    let repeated = if field.label() == Label::Repeated { "repeated " } else { "" };
    format!("{repeated}{}", single_type(field, short))
}

fn single_type(field: &FieldDescriptorProto, short: &impl Fn(&str) -> String) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => short(field.type_name()).trim_start_matches('.').to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_ascii_lowercase(),
    }
}

#[test]
fn our_protos_are_what_the_wire_tables_say() -> Result<()> {
    let (written, compiled) = (written()?, compiled()?);
    let lacking: Vec<_> = written.difference(&compiled).collect();
    let invented: Vec<_> = compiled.difference(&written).collect();
    assert!(lacking.is_empty() && invented.is_empty(), "lacking: {lacking:#?}\ninvented: {invented:#?}");
    assert_eq!(written.iter().filter(|fact| fact.contains(" rpc ")).count(), 23);
    assert!(written.len() > 250, "the tables were not read: {} facts", written.len());
    Ok(())
}

/// One Rust type stands for a message of both packages (see `build.rs`): only right while the messages are equal.
#[test]
fn messages_that_share_a_type_are_numbered_alike() -> Result<()> {
    let compiled = compiled()?;
    let renumbered = ["DeliberateRequest", "DeliberateResponse", "OrchestrateRequest"];
    let fields = |package: &str| -> Facts {
        let prefix = format!("{package} ");
        let own = compiled.iter().filter_map(|fact| fact.strip_prefix(&prefix).map(str::to_owned));
        own.filter(|fact| fact.contains(" = ") && !renumbered.contains(&message_of(fact))).collect()
    };
    let (newer, older) = (fields(PACKAGES[0]), fields(PACKAGES[1]));
    let both = |fact: &String| older.iter().any(|other| message_of(other) == message_of(fact));
    assert_eq!(newer.into_iter().filter(both).collect::<Facts>(), older);
    assert!(older.len() > 50, "{older:#?}");
    Ok(())
}

fn message_of(fact: &str) -> &str {
    fact.split('.').next().unwrap_or_default()
}
