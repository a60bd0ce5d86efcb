// Four neighbouring terms of a and b of any matrix product.

fn load_a4(tile: Tile, row: u32, k: u32) -> vec4<f32> {
    return vec4(
        load_a(tile, row, k),
        load_a(tile, row, k + 1u),
        load_a(tile, row, k + 2u),
        load_a(tile, row, k + 3u),
    );
}

fn load_b4(tile: Tile, column: u32, k: u32) -> vec4<f32> {
    let at = column_at(tile, column);
    return vec4(load_b(at, k), load_b(at, k + 1u), load_b(at, k + 2u), load_b(at, k + 3u));
}
