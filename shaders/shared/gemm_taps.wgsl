// b of a matrix product as the patches of a convolution's input, transposed: a column for each channel's tap, and terms
// that are output positions, image after image.

@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
// The table of gemm_patches.wgsl.
@group(0) @binding(5) var<storage, read> taps: array<vec4<i32>>;
@group(0) @binding(6) var<storage, read_write> c: array<f32>;

// A column of b: a channel's tap.
struct Column {
    // Where it reads for the first output position: in the input, and in cells; may be in the padding.
    at: i32,
    origin: vec3<i32>,
    k_end: u32,
    inside: bool,
}

fn column_at(tile: Tile, column: u32) -> Column {
    let j = params.start + column;
    let tap = taps[min(j, arrayLength(&taps) - 1u)];
    let before = vec3<i32>(params.before.xyz);
    let lines = before.x * i32(params.input_size.y) + before.y;
    let at = i32(tile.b) + tap.x - lines * i32(params.input_size.z) - before.z;
    return Column(at, tap.yzw - before, tile.k_end, column < params.n);
}

// Element k of a column of b; 0 in the padding and outside.
fn load_b(column: Column, k: u32) -> f32 {
    if !column.inside || k >= column.k_end {
        return 0.0;
    }
    let size = params.output_size;
    let positions = size.x * size.y * size.z;
    let position = k % positions;
    let output = vec3(position / (size.y * size.z), position / size.z % size.y, position % size.z);
    let shift = vec3<i32>(output * params.stride.xyz);
    let cell = column.origin + shift;
    if any(cell < vec3(0)) || any(cell >= vec3<i32>(params.input_size.xyz)) {
        return 0.0;
    }
    let lines = shift.x * i32(params.input_size.y) + shift.y;
    let image = i32(k / positions * params.image_step);
    return b[u32(column.at + image + lines * i32(params.input_size.z) + shift.z)];
}
