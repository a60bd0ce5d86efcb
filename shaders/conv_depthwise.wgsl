// Depthwise convolution, where each filter sees one channel: an invocation sums the taps of four neighbours of an output row,
// and what they see in common is read once.

struct Params {
    // Filters of all images, and of one; filters of each channel.
    planes: u32,
    filters: u32,
    multiplier: u32,
    // Per spatial axis as (depth, height, width).
    input_size: vec4<u32>,
    output_size: vec4<u32>,
    kernel: vec4<u32>,
    stride: vec4<u32>,
    dilation: vec4<u32>,
    before: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<Stored>;
@group(0) @binding(5) var<storage, read_write> output: array<Stored>;

const GROUP = 64u;

fn outside() -> f32 {
    return 0.0;
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_group(group, groups) * GROUP + local;
    let size = params.input_size;
    let out = params.output_size;
    let across = (out.z + 3u) / 4u;
    let x = i % across * 4u;
    let y = i / across % out.y;
    let z = i / (across * out.y) % out.x;
    let plane = i / (across * out.y * out.x);
    if plane >= params.planes {
        return;
    }
    let filter_ = plane % params.filters;
    let origin = vec3<i32>(vec3(z, y, x) * params.stride.xyz) - vec3<i32>(params.before.xyz);

    var w = filter_ * params.kernel.x * params.kernel.y * KERNEL_WIDTH;
    var sums = vec4<f32>();
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let kernel = params.kernel.xy + group.z;
    for (var kz = 0u; kz < kernel.x; kz++) {
        for (var ky = 0u; ky < kernel.y; ky++) {
            let at = vec2<u32>(origin.xy + vec2<i32>(vec2(kz, ky) * params.dilation.xy));
            let start = ((plane / params.multiplier * size.x + at.x) * size.y + at.y) * size.z;
            let row = Row(start, select(0u, size.z, all(at < size.xy)), origin.z);
            var window = Window();
            for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
                window = slide(window, row, kx);
                sums += weight[w] * window.last;
                w++;
            }
        }
    }
    finish4(filter_, ((plane * out.x + z) * out.y + y) * out.z + x, out.z - x, sums);
}
