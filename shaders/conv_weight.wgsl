// The gradient of a convolution to its filters without workgroup memory: an invocation sums, over some lines of the
// outputs, the products for FILTERS (1 or 4) filters and four neighbouring taps. For groups of few filters, and for
// adapters that compute on CPU cores.

struct Params {
    // Input and output channels in all, and of one group.
    channels: u32,
    filters: u32,
    group_channels: u32,
    group_filters: u32,
    // Invocations; blocks of taps and of a group's filters.
    count: u32,
    across: u32,
    down: u32,
    // Lines of the outputs of all images, and how many of them make a slice.
    lines: u32,
    slice: u32,
    input_size: vec4<u32>,
    output_size: vec4<u32>,
    kernel: vec4<u32>,
    stride: vec4<u32>,
    dilation: vec4<u32>,
    before: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

const GROUP = 64u;

// A tap of a channel of a group: the channel, and the tap's first cells along (depth, height, width), which may be in the
// padding.
struct Tap {
    channel: u32,
    cell: vec3<i32>,
    inside: bool,
}

fn tap_at(number: u32) -> Tap {
    let kernel = params.kernel;
    let taps = kernel.x * kernel.y * kernel.z;
    let tap = number % taps;
    let offset = vec3(tap / (kernel.y * kernel.z), tap / kernel.z % kernel.y, tap % kernel.z);
    let cell = vec3<i32>(offset * params.dilation.xyz) - vec3<i32>(params.before.xyz);
    return Tap(number / taps, cell, number < params.group_channels * taps);
}

// Where the line under a tap starts, and whether the input has it.
struct Line {
    at: i32,
    inside: bool,
}

fn line_at(tap: Tap, plane: u32, z: u32, y: u32) -> Line {
    let size = params.input_size;
    let row = tap.cell.xy + vec2<i32>(vec2(z, y) * params.stride.xy);
    let inside = tap.inside && all(row >= vec2(0)) && all(row < vec2<i32>(size.xy));
    let line = (i32(plane + tap.channel) * i32(size.x) + row.x) * i32(size.y) + row.y;
    return Line(line * i32(size.z) + tap.cell.z, inside);
}

// The input's element under a tap whose line starts there, `shift` cells on; 0 in the padding.
fn load(line: Line, tap: Tap, shift: i32) -> f32 {
    let x = tap.cell.z + shift;
    if !line.inside || x < 0 || x >= i32(params.input_size.z) {
        return 0.0;
    }
    return input[u32(line.at + shift)];
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_group(group, groups) * GROUP + local;
    if i >= params.count {
        return;
    }
    // Blocks of taps change fastest, then those of filters, then groups, then slices.
    let first = i % params.across * 4u;
    let filter0 = i / params.across % params.down * FILTERS;
    let group_ = i / (params.across * params.down) % (params.channels / params.group_channels);
    let number = i / (params.across * params.down) / (params.channels / params.group_channels);

    let tap0 = tap_at(first);
    let tap1 = tap_at(first + 1u);
    let tap2 = tap_at(first + 2u);
    let tap3 = tap_at(first + 3u);
    // Filters past the group's last repeat it, and are not stored.
    let last = params.group_filters - 1u;
    let size = params.output_size;
    let plane = size.x * size.y * size.z;
    let step1 = (min(filter0 + 1u, last) - filter0) * plane;
    let step2 = (min(filter0 + 2u, last) - filter0) * plane;
    let step3 = (min(filter0 + 3u, last) - filter0) * plane;

    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    let start = number * params.slice;
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let end = min(start + params.slice, params.lines) + group.z;
    let width = size.z + group.z;
    var y = start % size.y;
    var z = start / size.y % size.x;
    var image = start / (size.y * size.x);
    for (var line = start; line < end; line++) {
        let channel = image * params.channels + group_ * params.group_channels;
        let line0 = line_at(tap0, channel, z, y);
        let line1 = line_at(tap1, channel, z, y);
        let line2 = line_at(tap2, channel, z, y);
        let line3 = line_at(tap3, channel, z, y);
        let filter_ = image * params.filters + group_ * params.group_filters + filter0;
        var at = filter_ * plane + (z * size.y + y) * size.z;
        var shift = 0;
        for (var x = 0u; x < width; x++) {
            let values = vec4(
                load(line0, tap0, shift),
                load(line1, tap1, shift),
                load(line2, tap2, shift),
                load(line3, tap3, shift),
            );
            sum0 += gradient[at] * values;
            if FILTERS > 1u {
                sum1 += gradient[at + step1] * values;
                sum2 += gradient[at + step2] * values;
                sum3 += gradient[at + step3] * values;
            }
            at++;
            shift += i32(params.stride.z);
        }
        y++;
        if y == size.y {
            y = 0u;
            z++;
            if z == size.x {
                z = 0u;
                image++;
            }
        }
    }

    let taps = params.group_channels * params.kernel.x * params.kernel.y * params.kernel.z;
    let base = (number * params.filters + group_ * params.group_filters) * taps;
    store_row(base, filter0, first, taps, sum0);
    if FILTERS > 1u {
        store_row(base, filter0 + 1u, first, taps, sum1);
        store_row(base, filter0 + 2u, first, taps, sum2);
        store_row(base, filter0 + 3u, first, taps, sum3);
    }
}

// Stores a filter's sums; nothing past the last filter and tap.
fn store_row(base: u32, filter_: u32, first: u32, taps: u32, sums: vec4<f32>) {
    if filter_ >= params.group_filters {
        return;
    }
    let at = base + filter_ * taps + first;
    output[at] = sums.x;
    if first + 1u < taps {
        output[at + 1u] = sums.y;
    }
    if first + 2u < taps {
        output[at + 2u] = sums.z;
    }
    if first + 3u < taps {
        output[at + 3u] = sums.w;
    }
}
