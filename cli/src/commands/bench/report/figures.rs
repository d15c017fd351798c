//! What recorded runs say: one row for each workload and engine, whoever wrote the record.

use serde_json::{Value, json};

/// All that a report shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    /// In the order of the files, and of the engines in each.
    pub(crate) rows: Vec<Row>,
    /// Machines and versions, each once.
    pub(crate) machines: Vec<String>,
}

/// What a row of figures is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Own,
    Peer,
    Floor,
}

/// The size of a workload: rows of equal sizes stand together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) spine_rows: u64,
    pub(crate) feature_rows: u64,
    pub(crate) features: u64,
}

/// The medians of one engine on one workload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) kind: Kind,
    /// Engine, form and circumstances, as they are shown.
    pub(crate) engine: String,
    pub(crate) executors: Option<u64>,
    pub(crate) wall_seconds: f64,
    /// Least and greatest.
    pub(crate) wall_range: Option<(f64, f64)>,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) bytes_read: Option<u64>,
    pub(crate) bytes_shuffled: Option<u64>,
    pub(crate) bytes_spilled: Option<u64>,
    pub(crate) bytes_written: Option<u64>,
    pub(crate) repetitions: u64,
    pub(crate) date: String,
    /// How the rows were checked; empty where they are not the engine's own.
    pub(crate) checked: String,
    /// The record that it is from.
    pub(crate) file: String,
}

impl Figures {
    pub(super) fn extend(&mut self, other: Self) {
        self.rows.extend(other.rows);
        for machine in other.machines {
            if !self.machines.contains(&machine) {
                self.machines.push(machine);
            }
        }
    }

    /// Workloads in the order in which they come first.
    pub(super) fn workloads(&self) -> Vec<&Workload> {
        let mut seen: Vec<&Workload> = Vec::new();
        for row in &self.rows {
            if !seen.contains(&&row.workload) {
                seen.push(&row.workload);
            }
        }
        seen
    }

    /// The name of a workload, with its sizes where several have the name.
    pub(super) fn title(&self, workload: &Workload) -> String {
        let is_other = |other: &&Workload| other.name == workload.name && *other != workload;
        if !self.workloads().iter().any(is_other) {
            return workload.name.clone();
        }
        let rows = crate::render::units::count(workload.spine_rows + workload.feature_rows);
        format!("{}, {rows} rows, {} features", workload.name, workload.features)
    }

    /// The rows of a workload.
    pub(super) fn of<'a>(&'a self, workload: &'a Workload) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.workload == *workload)
    }

    /// The floor that a row is compared with: its own record's, else ours, else any of the workload.
    pub(super) fn floor_of<'a>(&'a self, row: &'a Row) -> Option<&'a Row> {
        let floors = || self.of_same(row).filter(|other| other.kind == Kind::Floor);
        floors()
            .find(|floor| floor.file == row.file)
            .or_else(|| floors().find(|floor| floor.engine == OWN_FLOOR))
            .or_else(|| floors().next())
    }

    /// The least figure of a peer on the same workload.
    pub(super) fn best_peer(&self, row: &Row, figure: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        self.of_same(row).filter(|other| other.kind == Kind::Peer).filter_map(figure).reduce(f64::min)
    }

    fn of_same<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = &'a Row> {
        self.of(&row.workload)
    }
}

/// What our own floor is called.
pub(super) const OWN_FLOOR: &str = "floor (parquet-rs)";

impl Row {
    /// As JSON.
    pub(super) fn json(&self) -> Value {
        json!({
            "workload": self.workload.name,
            "spine_rows": self.workload.spine_rows,
            "feature_rows": self.workload.feature_rows,
            "features": self.workload.features,
            "engine": self.engine,
            "executors": self.executors,
            "wall_seconds": self.wall_seconds,
            "cpu_seconds": self.cpu_seconds,
            "memory_bytes_max": self.memory_bytes,
            "bytes_read": self.bytes_read,
            "bytes_shuffled": self.bytes_shuffled,
            "bytes_spilled": self.bytes_spilled,
            "bytes_written": self.bytes_written,
            "repetitions": self.repetitions,
            "date": self.date,
            "checked": self.checked,
            "file": self.file,
        })
    }
}

/// Reads a record of `bench run`, or of the peers' driver.
///
/// # Errors
/// Why it is none.
pub(crate) fn figures(record: &Value, file: &str) -> Result<Figures, String> {
    let is_own = record["kind"] == "backsight-bench";
    let workload = if is_own { own_workload(&record["spec"]) } else { peers_workload(&record["workload"]) };
    let workload = workload.ok_or("it does not say what workload it is about")?;
    let medians = record["medians"].as_array().ok_or("it has no `medians`")?;
    let rows = medians.iter().filter_map(|median| {
        let engine = median["engine"].as_str()?;
        let kind = match engine {
            "floor" => Kind::Floor,
            "backsight" => Kind::Own,
            _ => Kind::Peer,
        };
        let whole = |key: &str| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "bytes are whole numbers"
            )]
            let bytes = median[key].as_f64().map(|bytes| bytes.max(0.0) as u64);
            bytes
        };
        let wall_range = median["wall_seconds_min"].as_f64().zip(median["wall_seconds_max"].as_f64());
        Some(Row {
            workload: workload.clone(),
            kind,
            engine: label(record, median, engine, is_own),
            executors: record["options"]["executors"].as_u64(),
            wall_seconds: median["wall_seconds"].as_f64()?,
            wall_range,
            cpu_seconds: median["cpu_seconds"].as_f64(),
            memory_bytes: whole("memory_bytes_max"),
            bytes_read: whole("bytes_read"),
            bytes_shuffled: whole("bytes_shuffled"),
            bytes_spilled: whole("bytes_spilled"),
            bytes_written: whole("bytes_written"),
            repetitions: record["repetitions"].as_u64().unwrap_or(1),
            date: record["date"].as_str().unwrap_or_default().to_owned(),
            checked: checked(record, engine, kind, is_own),
            file: file.to_owned(),
        })
    });
    let rows: Vec<Row> = rows.collect();
    if rows.is_empty() {
        return Err("its `medians` have no times".to_owned());
    }
    Ok(Figures { rows, machines: vec![machine(record)] })
}

fn own_workload(spec: &Value) -> Option<Workload> {
    let views = spec["views"].as_array()?;
    let sum = |key: &str| views.iter().filter_map(|view| view[key].as_u64()).sum();
    Some(Workload {
        name: spec["name"].as_str()?.to_owned(),
        spine_rows: spec["spine"]["rows"].as_u64()?,
        feature_rows: sum("rows"),
        features: sum("features"),
    })
}

fn peers_workload(workload: &Value) -> Option<Workload> {
    let views = workload["views"].as_array()?;
    let sum = |place: usize| views.iter().filter_map(|view| view[place].as_u64()).sum();
    Some(Workload {
        name: workload["name"].as_str()?.to_owned(),
        spine_rows: workload["spine"][0].as_u64()?,
        feature_rows: sum(1),
        features: sum(3),
    })
}

fn label(record: &Value, median: &Value, engine: &str, is_own: bool) -> String {
    match (engine, is_own) {
        ("floor", true) => return OWN_FLOOR.to_owned(),
        ("floor", false) => return "floor (DuckDB)".to_owned(),
        ("backsight", _) => {}
        _ => return engine.to_owned(),
    }
    let options = &record["options"];
    let mut parts = Vec::new();
    parts.extend(median["form"].as_str().map(str::to_owned));
    parts.extend(options["label"].as_str().map(str::to_owned));
    if let Some(executors) = options["executors"].as_u64() {
        parts.push(format!("{executors} executor{}", if executors == 1 { "" } else { "s" }));
    } else if options["is_cluster"] == true {
        parts.push("cluster".to_owned());
    }
    parts.extend(options["memory_limit_bytes"].as_u64().map(crate::render::units::bytes));
    parts.extend(options["partitions"].as_u64().map(|count| format!("{count} partitions")));
    if parts.is_empty() { engine.to_owned() } else { format!("{engine} ({})", parts.join(", ")) }
}

fn checked(record: &Value, engine: &str, kind: Kind, is_own: bool) -> String {
    if kind == Kind::Floor {
        return String::new();
    }
    if is_own {
        let by = record["check"]["by"].as_str().unwrap_or("not");
        let text = if by == "none" { "number of rows" } else { by };
        return text.to_owned();
    }
    match record["results"][engine]["differences"].as_array() {
        Some(differences) if differences.is_empty() => "same rows".to_owned(),
        Some(_) => "DIFFERENT ROWS".to_owned(),
        None => "not".to_owned(),
    }
}

fn machine(record: &Value) -> String {
    let (machine, versions) = (&record["machine"], &record["versions"]);
    let mut text = machine["processor"].as_str().unwrap_or("unknown processor").to_owned();
    if let Some(cores) = machine["cores"].as_u64() {
        text = format!("{text}, {cores} cores");
    }
    if let Some(memory) = machine["memory_bytes"].as_u64() {
        text = format!("{text}, {}", crate::render::units::bytes(memory));
    }
    for (name, version) in versions.as_object().into_iter().flatten() {
        if let Some(version) = version.as_str() {
            text = format!("{text}, {name} {version}");
        }
    }
    text
}
