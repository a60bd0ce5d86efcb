// b of a matrix product as a matrix in storage, not transposed, whose rows are whole fours: neighbours are read together.

@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
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
    return Column(tile.b + column, tile.k_end, column < params.n);
}

// Element k of a column of b; 0 outside.
fn load_b(column: Column, k: u32) -> f32 {
    if !column.inside || k >= column.k_end {
        return 0.0;
    }
    let at = column.at + k * params.b_row;
    return b[at / 4u][at % 4u];
}

// Element k of four neighbouring columns, the first a multiple of 4: all are inside or none.
fn load_quad_b(c0: Column, c1: Column, c2: Column, c3: Column, k: u32) -> vec4<f32> {
    if !c0.inside || k >= c0.k_end {
        return vec4<f32>();
    }
    return b[(c0.at + k * params.b_row) / 4u];
}
