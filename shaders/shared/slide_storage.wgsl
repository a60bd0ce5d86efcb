// Rows of the input where it lies, with `outside()` in the padding.

// A row of the input: its first element, its length (0 where it is outside), and the column, which may be in the padding, of
// the first neighbour's first tap.
struct Row {
    start: u32,
    length: u32,
    left: i32,
}

fn element(row: Row, column: u32) -> f32 {
    // A column before the row is negative, which as an unsigned number is past its end.
    let inside = column < row.length;
    return select(outside(), input[select(0u, row.start + column, inside)], inside);
}
