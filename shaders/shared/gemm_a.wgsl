// a of a matrix product, a matrix in storage.

@group(0) @binding(1) var<storage, read> a: array<f32>;

// Element (row, k) of a; 0 outside the tile's terms, so that edge tiles need no case of their own.
fn load_a(tile: Tile, row: u32, k: u32) -> f32 {
    if row >= params.m || k >= tile.k_end {
        return 0.0;
    }
    return a[tile.a + select(row * params.a_row + k, k * params.a_row + row, TRANS_A)];
}
