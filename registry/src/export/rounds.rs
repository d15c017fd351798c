//! The export itself: documents are written, read back, and what the reader does not take is left out, in rounds.
//!
//! A round leaves out at least one object; what used it is found in the next one. A chain is at most four long (source,
//! view, on-demand view, service), so there are few rounds.

use std::collections::{BTreeMap, BTreeSet};

use super::emit::{comment, document};
use super::objects::{self, Context, Document};
use crate::definitions::{SourceFile, check_definitions};
use crate::diff::{Action, ObjectRef, Plan, diff};
use crate::kept::{Kept, kind_of};
use crate::kind::Kind;
use crate::model::{Catalog, DataSource, Definitions, OnDemandInput, Project, SourceKind, ViewKind};
use crate::problem::{Position, Problem};

/// A file is ended when it has grown to this, far below what the reader takes.
const FILE_BYTES: usize = 1 << 20;
/// Where comments stand, and the project.
const PROJECT_FILE: &str = "project";

/// A project as definitions.
#[derive(Debug, Clone)]
pub struct Export {
    /// The files, each below the repo; the same objects always give the same files.
    pub files: Vec<SourceFile>,
    /// How many objects the files define.
    pub objects: usize,
    /// Objects of kinds that definitions do not manage: (kind as Feast names it, name). Apply keeps them.
    pub not_managed: Vec<(String, String)>,
    /// Objects of kinds that definitions do manage, which the reader of definitions refuses. Apply keeps them, too.
    pub not_expressed: Vec<NotExpressed>,
    /// What `plan` says of the files. It has no changes but parts that a definition cannot say of an object.
    pub plan: Plan,
}

/// An object that definitions cannot say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotExpressed {
    /// Which object.
    pub object: ObjectRef,
    /// Why, in the words of the reader.
    pub reason: String,
}

impl Export {
    /// What `plan` would change in objects that are exported, field by field: parts that a definition cannot say.
    pub fn inexact(&self) -> Vec<(ObjectRef, Vec<String>)> {
        let paths = |fields: &[crate::diff::FieldChange]| fields.iter().map(|field| field.path()).collect();
        self.plan
            .changes
            .iter()
            .map(|change| match change.action {
                Action::Update => (change.object.clone(), paths(&change.fields)),
                Action::Create | Action::Delete => (change.object.clone(), Vec::new()),
            })
            .collect()
    }
}

/// One object's document.
struct Piece {
    object: ObjectRef,
    file: &'static str,
    text: String,
}

/// What the reader of definitions says of a project.
struct Judged {
    /// What it takes.
    pieces: Vec<Piece>,
    /// What it makes of that.
    definitions: Definitions,
    not_expressed: Vec<NotExpressed>,
}

/// The objects of managed kinds that definitions cannot say, in the order of their names, each with the reason.
///
/// # Errors
/// As [`export`].
pub fn not_expressed(catalog: &Catalog) -> Result<Vec<NotExpressed>, Vec<Problem>> {
    Ok(judge(catalog)?.not_expressed)
}

/// The managed objects of a project as definitions. Objects stand in the order of their names.
///
/// # Errors
/// The reader refuses a file as a whole, which it does to no file of ours: its findings.
pub fn export(catalog: &Catalog) -> Result<Export, Vec<Problem>> {
    let Judged { pieces, definitions, not_expressed } = judge(catalog)?;
    let written: BTreeSet<(Kind, &str)> =
        pieces.iter().map(|piece| (piece.object.kind, piece.object.name.as_str())).collect();
    let left_out: BTreeSet<(Kind, &str)> =
        not_expressed.iter().map(|left| (left.object.kind, left.object.name.as_str())).collect();
    let plan = diff(catalog, &definitions);
    let is_told = |(class, name): &&(String, String)| {
        kind_of(class).is_some_and(|kind| {
            let object = (kind, name.as_str());
            written.contains(&object) || left_out.contains(&object)
        })
    };
    let not_managed = plan.not_managed.iter().filter(|object| !is_told(object)).cloned().collect();
    let mut export = Export { files: Vec::new(), objects: pieces.len(), not_managed, not_expressed, plan };
    export.files = layout(&pieces, &comments(&export)).0;
    Ok(export)
}

fn judge(catalog: &Catalog) -> Result<Judged, Vec<Problem>> {
    let mut pieces = pieces(catalog);
    let mut not_expressed: Vec<NotExpressed> = Vec::new();
    let project = Project::named(&catalog.project);
    let definitions = loop {
        let (files, places) = layout(&pieces, "");
        let places = by_file(places);
        let problems = match check_definitions(&files, project.clone()) {
            Ok(loaded) => break loaded.definitions,
            Err(problems) => problems,
        };
        let mut refused = BTreeSet::new();
        for problem in &problems {
            let Some(index) = piece_at(&places, &problem.position) else { continue };
            if refused.insert(index) {
                let object = pieces[index].object.clone();
                not_expressed.push(NotExpressed { object, reason: problem.message.clone() });
            }
        }
        if refused.is_empty() {
            return Err(problems);
        }
        let mut index = 0;
        pieces.retain(|_| {
            index += 1;
            !refused.contains(&(index - 1))
        });
    };
    not_expressed.sort_by(|left, right| left.object.cmp(&right.object));
    Ok(Judged { pieces, definitions, not_expressed })
}

/// Every object that definitions may be able to say.
fn pieces(catalog: &Catalog) -> Vec<Piece> {
    let context = Context::of(catalog);
    let kept = Kept::of_other_kinds(catalog);
    let mut pieces = Vec::new();
    let mut add = |kind: Kind, name: &str, file: &'static str, keys: Document| {
        let object = ObjectRef { kind, name: name.to_owned() };
        pieces.push(Piece { object, file, text: document(&keys) });
    };
    if let Some(project) = &catalog.project_object
        && let Some(keys) = objects::project(project)
    {
        add(Kind::Project, &project.name, PROJECT_FILE, keys);
    }
    for entity in &catalog.entities {
        add(Kind::Entity, &entity.name, "entities", objects::entity(entity));
    }
    let views = || {
        let own = catalog.feature_views.iter().filter(|view| view.kind == ViewKind::Feature);
        own.filter(|view| !kept.has(Kind::FeatureView, &view.name))
    };
    let on_demand = || {
        let own = catalog.on_demand_feature_views.iter();
        own.filter(|view| !kept.has(Kind::OnDemandFeatureView, &view.name))
    };
    let requests = on_demand().flat_map(|view| view.inputs.values()).filter_map(|input| match input {
        OnDemandInput::Request(source) => Some(source),
        OnDemandInput::View(_) => None,
    });
    // Old Feast has sources in views only.
    let inner = views().map(|view| &view.source).chain(requests);
    let mut names = BTreeSet::new();
    let is_ours = |source: &&DataSource| !matches!(source.kind, SourceKind::Other { .. });
    for source in catalog.data_sources.iter().chain(inner).filter(is_ours) {
        if names.insert(source.name.as_str()) {
            add(Kind::DataSource, &source.name, "data_sources", objects::source(source));
        }
    }
    for view in views() {
        add(Kind::FeatureView, &view.name, "feature_views", objects::feature_view(view, &context));
    }
    for view in on_demand() {
        let keys = objects::on_demand_view(view, &context);
        add(Kind::OnDemandFeatureView, &view.name, "on_demand_feature_views", keys);
    }
    for service in &catalog.feature_services {
        let keys = objects::feature_service(service, &context);
        add(Kind::FeatureService, &service.name, "feature_services", keys);
    }
    pieces.sort_by(|left, right| left.object.cmp(&right.object));
    pieces
}

/// Where a piece stands: file, first line, last line.
type Place = (String, usize, usize);

/// A file that is being filled.
struct Open {
    name: &'static str,
    number: usize,
    lines: usize,
    has_document: bool,
}

/// The pieces in files, one for each kind or several where they are many; `comments` open the file of the project.
fn layout(pieces: &[Piece], comments: &str) -> (Vec<SourceFile>, Vec<Place>) {
    let mut files: Vec<SourceFile> = Vec::new();
    let mut places = Vec::with_capacity(pieces.len());
    let mut open: Option<Open> = None;
    if !comments.is_empty() {
        files.push(SourceFile { path: format!("{PROJECT_FILE}.yaml"), text: comments.to_owned() });
        let lines = comments.lines().count();
        open = Some(Open { name: PROJECT_FILE, number: 1, lines, has_document: false });
    }
    for piece in pieces {
        let is_full = files.last().is_none_or(|file| file.text.len() >= FILE_BYTES);
        let number = match &open {
            Some(open) if open.name == piece.file && !is_full => 0,
            Some(open) if open.name == piece.file => open.number + 1,
            _ => 1,
        };
        if number > 0 {
            let suffix = if number > 1 { format!("_{number}") } else { String::new() };
            files.push(SourceFile { path: format!("{}{suffix}.yaml", piece.file), text: String::new() });
            open = Some(Open { name: piece.file, number, lines: 0, has_document: false });
        }
        let (Some(file), Some(open)) = (files.last_mut(), &mut open) else { continue };
        if open.has_document {
            file.text.push_str("---\n");
            open.lines += 1;
        }
        file.text.push_str(&piece.text);
        let first = open.lines + 1;
        open.lines += piece.text.lines().count();
        open.has_document = true;
        places.push((file.path.clone(), first, open.lines));
    }
    (files, places)
}

/// For each file: first line, last line and number of each piece, from top to bottom.
type PlacesByFile = BTreeMap<String, Vec<(usize, usize, usize)>>;

fn by_file(places: Vec<Place>) -> PlacesByFile {
    let mut files = PlacesByFile::new();
    for (index, (file, first, last)) in places.into_iter().enumerate() {
        files.entry(file).or_default().push((first, last, index));
    }
    files
}

fn piece_at(places: &PlacesByFile, position: &Position) -> Option<usize> {
    let of_file = places.get(&*position.file)?;
    let next = of_file.partition_point(|(first, _, _)| *first <= position.line);
    let (_, last, index) = of_file.get(next.checked_sub(1)?)?;
    (position.line <= *last).then_some(*index)
}

/// What the files do not say.
fn comments(export: &Export) -> String {
    let mut text = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let lines: String = lines.iter().map(|line| comment(&format!("  {line}"))).collect();
            text = format!("{text}{}{lines}", comment(title));
        }
    };
    section(
        "Not managed by definitions; apply keeps them in the registry:",
        export.not_managed.iter().map(|(kind, name)| format!("{kind} {name}")).collect(),
    );
    section(
        "Cannot be said by definitions; apply keeps them in the registry:",
        export
            .not_expressed
            .iter()
            .map(|left| format!("{} {}: {}", left.object.kind, left.object.name, left.reason))
            .collect(),
    );
    section(
        "Are said by definitions in another way; apply would change them:",
        export
            .inexact()
            .iter()
            .map(|(object, paths)| format!("{} {}: {}", object.kind, object.name, paths.join(", ")))
            .collect(),
    );
    text
}
