//! A spine by SELECT: feature views by name, files by quoted path, nothing else.

use std::sync::Arc;

use backsight_registry::model::{Catalog, FeatureView, SourceKind};
use backsight_storage::{FileEntry, Location};
use datafusion::catalog::TableProvider;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, TableReference};
use datafusion::datasource::ViewTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Volatility};
use datafusion::prelude::{SQLOptions, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::columns::KeyTypes;
use super::format::{EXTENSIONS, SpineFormat};
use super::{StageSite, stage};
use crate::error::RetrievalError;
use crate::parquet_table::ParquetTable;
use crate::plan::column;
use crate::prepare::{Bases, source_location};
use crate::scan::TableScan;
use crate::source_files::SourceFiles;

/// Longest SELECT that is read.
const SQL_BYTES_MAX: usize = 1 << 20;

/// Most points in a row of names.
const NAME_PARTS_MAX: usize = 10;

/// A SELECT that can be run, and the files that it reads.
pub(crate) struct PlannedSelect {
    pub(crate) plan: LogicalPlan,
    pub(crate) files: Vec<(String, FileEntry)>,
}

/// Where the tables of a SELECT come from.
pub(crate) struct SelectSite<'a> {
    pub(crate) sources: &'a SourceFiles,
    pub(crate) catalog: &'a Catalog,
    pub(crate) bases: Bases<'a>,
    /// For files that are not Parquet.
    pub(crate) stage: StageSite<'a>,
    /// Types of key columns of text files.
    pub(crate) keys: &'a KeyTypes,
}

impl SelectSite<'_> {
    /// Reads and plans a SELECT.
    ///
    /// # Errors
    /// Anything but one SELECT, tables that are neither feature views nor files, files that cannot be read, and what SQL does
    /// not allow.
    pub(crate) async fn plan(&self, sql: &str) -> Result<PlannedSelect, RetrievalError> {
        if sql.len() > SQL_BYTES_MAX {
            return Err(bad(&format!("it has {} bytes, and {SQL_BYTES_MAX} are allowed", sql.len()), None));
        }
        let context = SessionContext::new();
        let state = context.state();
        let dialect = state.config().options().sql_parser.dialect;
        check_chains(sql)?;
        let statement = state.sql_to_statement(sql, &dialect).map_err(|error| of_sql(&error))?;
        match &statement {
            Statement::Statement(statement) if matches!(statement.as_ref(), SqlStatement::Query(_)) => {}
            other => {
                let text = other.to_string();
                let word = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
                return Err(bad(&format!("it is no SELECT but `{word}`"), Some("only rows are asked for")));
            }
        }
        let mut files = Vec::new();
        for reference in state.resolve_table_references(&statement).map_err(|error| of_sql(&error))? {
            let (provider, read) = self.table(&reference).await?;
            files.extend(read);
            context.register_table(reference, provider).map_err(|error| of_sql(&error))?;
        }
        let plan = context.state().statement_to_plan(statement).await.map_err(|error| of_sql(&error))?;
        // A query may do more than read: `SELECT … INTO` makes a table.
        let only_reads =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        only_reads.verify_plan(&plan).map_err(|error| of_sql(&error))?;
        refuse_moods(&plan)?;
        Ok(PlannedSelect { plan: named(plan)?, files })
    }

    async fn table(
        &self,
        reference: &TableReference,
    ) -> Result<(Arc<dyn TableProvider>, Vec<(String, FileEntry)>), RetrievalError> {
        let TableReference::Bare { table: name } = reference else {
            return Err(self.no_such_table(&reference.to_string()));
        };
        let views = &self.catalog.feature_views;
        if let Some(view) = views.iter().find(|view| view.name.eq_ignore_ascii_case(name)) {
            return self.view(view).await;
        }
        if !is_path(name) {
            return Err(self.no_such_table(name));
        }
        let location = Location::parse(name, self.bases.working, None)?;
        let stores = self.sources.stores();
        let entries = stores.expand_data(&location, &EXTENSIONS).await?;
        let read = entries.iter().map(|file| ("spine".to_owned(), file.clone())).collect();
        let format = SpineFormat::of_files(&entries)?;
        let table = if format == SpineFormat::Parquet {
            let table = ParquetTable::of_files(self.sources, &location, &entries, "spine").await?;
            table.with_hive_columns(self.keys)?
        } else {
            let target =
                stage::ensure_files(stores, self.stage, &location, &entries, format, self.keys).await?;
            ParquetTable::open(stores, &target, "spine").await?
        };
        Ok((Arc::new(TableScan::source(Arc::new(table), &[])), read))
    }

    /// A feature view: its keys, times and features under the names that it gives them.
    async fn view(
        &self,
        view: &FeatureView,
    ) -> Result<(Arc<dyn TableProvider>, Vec<(String, FileEntry)>), RetrievalError> {
        if !matches!(view.source.kind, SourceKind::File { .. }) {
            return Err(bad(
                &format!("feature view `{}` has a source that is no file", view.name),
                Some("name a file instead"),
            ));
        }
        let location = source_location(&view.source, self.bases.repo)?;
        let role = format!("source `{}` of feature view `{}`", view.source.name, view.name);
        let table = ParquetTable::open_source(self.sources, &location, view, None, &role).await?;
        let table = Arc::new(table);
        let read = table.files.iter().map(|file| (view.name.clone(), file.entry.clone())).collect();
        let mut columns: Vec<Expr> = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        let created = view.source.created_timestamp_column.as_deref().filter(|name| !name.is_empty());
        let keys = view.join_keys.iter().map(|field| field.name.as_str());
        let features = view.features.iter().map(|field| field.name.as_str());
        for name in keys.chain([view.source.timestamp_field.as_str()]).chain(created).chain(features) {
            let source = crate::plan::source_column(view, name);
            if !names.contains(&name) && table.schema.field_with_name(&source).is_ok() {
                names.push(name);
                columns.push(column("view", &source).alias(name));
            }
        }
        let scan = TableScan::source(table, &[]);
        let plan = LogicalPlanBuilder::scan("view", provider_as_source(Arc::new(scan)), None)
            .and_then(|builder| builder.project(columns))
            .and_then(LogicalPlanBuilder::build)
            .map_err(RetrievalError::from_engine)?;
        Ok((Arc::new(ViewTable::new(plan, None)), read))
    }

    fn no_such_table(&self, name: &str) -> RetrievalError {
        let views: Vec<String> = self.catalog.feature_views.iter().map(|view| view.name.clone()).collect();
        let hint = format!(
            "a table is a feature view, or a file in quotes as 'data/labels.parquet'; {}",
            crate::resolve::did_you_mean(name, &views, "feature views")
        );
        bad(&format!("there is no table `{name}`"), Some(&hint))
    }
}

/// Refuses functions that do not always give the same: rows that are made again, or elsewhere, must be the same rows.
fn refuse_moods(plan: &LogicalPlan) -> Result<(), RetrievalError> {
    let mut found: Option<String> = None;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Expr::ScalarFunction(call) = part
                    && call.func.signature().volatility != Volatility::Immutable
                {
                    found = Some(call.name().to_owned());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.map_err(|error| of_sql(&error))?;
    match found {
        None => Ok(()),
        Some(name) => Err(bad(
            &format!("`{name}()` does not give the same each time"),
            Some("write the value itself, as `TIMESTAMP '2026-01-31T12:00:00Z'`"),
        )),
    }
}

/// Refuses names of very many parts: the parser tries each part in two ways, so each more doubles its work.
fn check_chains(sql: &str) -> Result<(), RetrievalError> {
    // What is no token is said by the parser.
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap_or_default();
    let (mut parts, mut after_point) = (0, false);
    for token in tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))) {
        match token {
            Token::Period => parts += 1,
            _ if after_point => {}
            _ => parts = 0,
        }
        after_point = *token == Token::Period;
        if parts > NAME_PARTS_MAX {
            let hint = "a name is a column, or a table and a column";
            return Err(bad(&format!("a name in it has more than {NAME_PARTS_MAX} parts"), Some(hint)));
        }
    }
    Ok(())
}

/// Whether a name can be that of a file or folder: it has a separator or an extension.
fn is_path(name: &str) -> bool {
    name.contains('/') || name.contains('.') || name.contains('*')
}

/// The plan with columns that have one name each, without their tables.
fn named(plan: LogicalPlan) -> Result<LogicalPlan, RetrievalError> {
    let schema = Arc::clone(plan.schema());
    let mut names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let hint = format!("give one of them another name: `{} AS other`", twice[0]);
        return Err(bad(&format!("two of its columns are called `{}`", twice[0]), Some(&hint)));
    }
    let columns = (0..schema.fields().len()).map(|position| {
        let (_, field) = schema.qualified_field(position);
        Expr::Column(Column::from(schema.qualified_field(position))).alias(field.name())
    });
    LogicalPlanBuilder::from(plan)
        .project(columns.collect::<Vec<_>>())
        .and_then(LogicalPlanBuilder::build)
        .map_err(RetrievalError::from_engine)
}

fn bad(detail: &str, hint: Option<&str>) -> RetrievalError {
    RetrievalError::BadSpine {
        file: "--spine-sql".to_owned(),
        detail: detail.to_owned(),
        hint: hint.unwrap_or("it is one SELECT in the query engine's SQL").to_owned(),
    }
}

/// What the parser or the planner of SQL says, without its prefixes.
fn of_sql(error: &DataFusionError) -> RetrievalError {
    let text = match error.find_root() {
        // Its own text is that of a value in code.
        DataFusionError::SQL(error, _) => match error.as_ref() {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text.clone(),
            ParserError::RecursionLimitExceeded => "it is nested too deep".to_owned(),
        },
        _ => error.strip_backtrace(),
    };
    let detail = text
        .trim_start_matches("SQL error: ")
        .trim_start_matches("This feature is not implemented: ")
        .trim_start_matches("Error during planning: ")
        .trim_start_matches("Schema error: ");
    bad(detail, None)
}
