//! SQLite as it is asked: one row, named columns, one expression.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, params_from_iter};

use crate::expression::{COLUMNS, Cell};

pub(crate) struct Oracle {
    connection: Connection,
    /// The row, with a place for each value.
    source: String,
}

impl Oracle {
    pub(crate) fn open() -> Self {
        let connection = Connection::open_in_memory().expect("SQLite needs no disk");
        let sensitive = connection.pragma_update(None, "case_sensitive_like", true);
        sensitive.expect("SQLite knows it");
        let columns: Vec<String> = COLUMNS
            .iter()
            .enumerate()
            .map(|(at, (name, _))| format!("?{} AS {name}", at + 1))
            .collect();
        let source = format!("SELECT {}", columns.join(", "));
        Self { connection, source }
    }

    pub(crate) fn evaluate(&self, condition: &str, row: &[Cell]) -> Option<bool> {
        let query = format!("SELECT ({condition}) FROM ({})", self.source);
        let values = params_from_iter(row.iter().map(sql));
        let truth: Option<i64> = self
            .connection
            .query_row(&query, values, |row| row.get(0))
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        truth.map(|truth| truth != 0)
    }
}

fn sql(cell: &Cell) -> Sql {
    match cell {
        Cell::Null => Sql::Null,
        Cell::Bool(truth) => Sql::Integer((*truth).into()),
        Cell::Exact(number) => Sql::Integer(*number),
        Cell::Approximate(number) => Sql::Real(*number),
        Cell::Text(text) => Sql::Text(text.clone()),
    }
}
