// a of a matrix product, a constant packed when the plan was made: for each four rows, their elements at each k together, and
// zeros past the last row.

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;

// Four neighbouring rows, the first a multiple of 4; 0 outside the tile's terms.
fn load_quad_a(tile: Tile, row: u32, k: u32) -> vec4<f32> {
    if row >= params.m || k >= tile.k_end {
        return vec4<f32>();
    }
    return a[tile.a / 4u + row / 4u * params.k + k];
}

// Element (row, k) of a.
fn load_a(tile: Tile, row: u32, k: u32) -> f32 {
    return load_quad_a(tile, row, k)[row % 4u];
}
