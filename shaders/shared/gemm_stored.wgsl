// b of a matrix product as a matrix in storage.

@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

// A column of b.
struct Column {
    at: u32,
    k_end: u32,
    inside: bool,
}

fn column_at(tile: Tile, column: u32) -> Column {
    return Column(tile.b + select(column, column * params.b_row, TRANS_B), tile.k_end, column < params.n);
}

// Element k of a column of b; 0 outside.
fn load_b(column: Column, k: u32) -> f32 {
    if !column.inside || k >= column.k_end {
        return 0.0;
    }
    return b[column.at + select(k * params.b_row, k, TRANS_B)];
}
