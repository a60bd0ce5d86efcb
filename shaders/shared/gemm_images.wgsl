// a of a matrix product whose terms are the output positions of a convolution, image after image: the gradient to its
// outputs, with a row for each filter.

@group(0) @binding(1) var<storage, read> a: array<f32>;

// Element (row, k) of a; 0 outside the tile's terms, so that edge tiles need no case of their own.
fn load_a(tile: Tile, row: u32, k: u32) -> f32 {
    if row >= params.m || k >= tile.k_end {
        return 0.0;
    }
    return a[tile.a + k / params.a_row * params.a_image + row * params.a_row + k % params.a_row];
}
