//! In which of several pieces a row is, and where.

/// Rows whose piece is looked up together.
const BLOCK_ROWS: usize = if cfg!(test) { 2 } else { 1 << 12 };

/// The piece of each row.
#[derive(Debug)]
pub(crate) struct Places {
    /// First row of each piece, and one past the last.
    starts: Vec<usize>,
    /// For each block of rows the piece of its first one.
    blocks: Vec<usize>,
}

impl Places {
    /// Pieces of so many rows each.
    pub(crate) fn new(rows: impl Iterator<Item = usize>) -> Self {
        let mut starts = vec![0];
        for rows in rows {
            starts.push(starts.last().copied().unwrap_or(0) + rows);
        }
        let mut blocks = Vec::new();
        let mut piece = 0;
        for row in (0..starts.last().copied().unwrap_or(0)).step_by(BLOCK_ROWS) {
            while starts[piece + 1] <= row {
                piece += 1;
            }
            blocks.push(piece);
        }
        Self { starts, blocks }
    }

    /// Rows of all pieces.
    pub(crate) fn rows(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Piece of a row, and its number there.
    #[inline]
    pub(crate) fn of(&self, row: usize) -> (usize, usize) {
        let mut piece = self.blocks[row / BLOCK_ROWS];
        while self.starts[piece + 1] <= row {
            piece += 1;
        }
        (piece, row - self.starts[piece])
    }
}
