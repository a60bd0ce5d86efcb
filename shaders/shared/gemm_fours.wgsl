// Four neighbouring terms of a and b of a matrix product a b^T, where every row is whole fours.

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

fn load_a4(tile: Tile, row: u32, k: u32) -> vec4<f32> {
    if row >= params.m {
        return vec4<f32>();
    }
    return a[(tile.a + row * params.a_row + k) / 4u];
}

fn load_b4(tile: Tile, column: u32, k: u32) -> vec4<f32> {
    if column >= params.n {
        return vec4<f32>();
    }
    return b[(tile.b + column * params.b_row + k) / 4u];
}
