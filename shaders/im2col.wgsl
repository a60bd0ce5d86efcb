// Unfolds the patches of a convolution into columns: row (channel, tap), column (image, output position). Bit for bit.

struct Params {
    // The input: channels, then its spatial sizes as (depth, height, width).
    channels: u32,
    rows: u32,
    // Of all columns those from start, count of them.
    start: u32,
    count: u32,
    input_size: vec4<u32>,
    output_size: vec4<u32>,
    kernel: vec4<u32>,
    stride: vec4<u32>,
    dilation: vec4<u32>,
    before: vec4<u32>,
    // Where the matrix's elements go: rows row_step apart; columns in images of split columns, image_step apart.
    row_step: u32,
    split: u32,
    image_step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

const GROUP = 64u;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_group(group, groups) * GROUP + local;
    if i >= params.rows * params.count {
        return;
    }
    let row = i / params.count;
    let column = i % params.count;

    let taps = params.kernel.x * params.kernel.y * params.kernel.z;
    let channel = row / taps;
    let tap = row % taps;
    let offset = vec3(
        tap / (params.kernel.y * params.kernel.z),
        tap / params.kernel.z % params.kernel.y,
        tap % params.kernel.z,
    );

    let positions = params.output_size.x * params.output_size.y * params.output_size.z;
    let image = (params.start + column) / positions;
    let position = (params.start + column) % positions;
    let origin = vec3(
        position / (params.output_size.y * params.output_size.z),
        position / params.output_size.z % params.output_size.y,
        position % params.output_size.z,
    );

    // In padded coordinates, which are never negative.
    let padded = origin * params.stride.xyz + offset * params.dilation.xyz;
    let inside = all(padded >= params.before.xyz) && all(padded < params.before.xyz + params.input_size.xyz);
    var value = 0u;
    if inside {
        let at = padded - params.before.xyz;
        let size = params.input_size;
        value = input[(((image * params.channels + channel) * size.x + at.x) * size.y + at.y) * size.z + at.z];
    }
    output[row * params.row_step + column / params.split * params.image_step + column % params.split] = value;
}
