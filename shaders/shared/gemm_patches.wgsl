// b of a matrix product as the patches of a convolution's input, found where they lie: im2col without the matrix.

@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
// For each row k of the patch matrix, a channel's tap: its offset in elements and in cells along (depth, height, width)
// from the first tap of the first channel.
@group(0) @binding(5) var<storage, read> taps: array<vec4<i32>>;
@group(0) @binding(6) var<storage, read_write> c: array<f32>;

// A column of b: an output position of an image.
struct Column {
    // Where its first tap is: in the input, and in cells, which may be in the padding.
    at: i32,
    origin: vec3<i32>,
    k_end: u32,
    inside: bool,
}

fn column_at(tile: Tile, column: u32) -> Column {
    let size = params.output_size;
    let j = params.start + column;
    let positions = size.x * size.y * size.z;
    let position = j % positions;
    let output = vec3(position / (size.y * size.z), position / size.z % size.y, position % size.z);
    let origin = vec3<i32>(output * params.stride.xyz) - vec3<i32>(params.before.xyz);
    let lines = origin.x * i32(params.input_size.y) + origin.y;
    let at = i32(tile.b + j / positions * params.image_step) + lines * i32(params.input_size.z) + origin.z;
    return Column(at, origin, tile.k_end, column < params.n);
}

// Element k of a column of b; 0 in the padding and outside.
fn load_b(column: Column, k: u32) -> f32 {
    if !column.inside || k >= column.k_end {
        return 0.0;
    }
    let tap = taps[k];
    let cell = column.origin + tap.yzw;
    if any(cell < vec3(0)) || any(cell >= vec3<i32>(params.input_size.xyz)) {
        return 0.0;
    }
    return b[u32(column.at + tap.x)];
}
