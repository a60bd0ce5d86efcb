// Element k of four neighbouring rows of a, the first a multiple of 4.
fn load_quad_a(tile: Tile, row: u32, k: u32) -> vec4<f32> {
    return vec4(
        load_a(tile, row, k),
        load_a(tile, row + 1u, k),
        load_a(tile, row + 2u, k),
        load_a(tile, row + 3u, k),
    );
}
