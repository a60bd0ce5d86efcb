// Convolution without a matrix: an invocation sums the taps of one output element. For depthwise convolutions and other
// groups of few channels, whose matrices would be too thin to be worth unfolding.

struct Params {
    // Input and output channels in all, and of one group.
    channels: u32,
    filters: u32,
    group_channels: u32,
    group_filters: u32,
    count: u32,
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
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

const GROUP = 64u;

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
    let out = params.output_size;
    let x = i % out.z;
    let y = i / out.z % out.y;
    let z = i / (out.z * out.y) % out.x;
    let filter_ = i / (out.z * out.y * out.x) % params.filters;
    let image = i / (out.z * out.y * out.x * params.filters);

    let origin = vec3(z, y, x) * params.stride.xyz;
    let first = filter_ / params.group_filters * params.group_channels;
    let size = params.input_size;
    var w = filter_ * params.group_channels * params.kernel.x * params.kernel.y * params.kernel.z;
    var sum = 0.0;
    for (var channel = 0u; channel < params.group_channels; channel++) {
        let plane = (image * params.channels + first + channel) * size.x;
        for (var kz = 0u; kz < params.kernel.x; kz++) {
            for (var ky = 0u; ky < params.kernel.y; ky++) {
                for (var kx = 0u; kx < params.kernel.z; kx++) {
                    // In padded coordinates, which are never negative.
                    let padded = origin + vec3(kz, ky, kx) * params.dilation.xyz;
                    if all(padded >= params.before.xyz) && all(padded < params.before.xyz + size.xyz) {
                        let at = padded - params.before.xyz;
                        sum += weight[w] * input[((plane + at.x) * size.y + at.y) * size.z + at.z];
                    }
                    w++;
                }
            }
        }
    }
    if HAS_BIAS {
        sum += bias[filter_];
    }
    if HAS_RESIDUAL {
        sum += residual[i];
    }
    output[i] = activate(sum);
}
