// output = (x - mean) * inverse * scale + bias: one invocation per element.

struct Params {
    // The axes along which scale and bias are broadcast, at most eight, and the steps in elements along them.
    sizes: array<vec4<u32>, 2>,
    scale_steps: array<vec4<u32>, 2>,
    bias_steps: array<vec4<u32>, 2>,
    axes: u32,
    count: u32,
    length: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> inverse: array<f32>;
@group(0) @binding(4) var<storage, read> scale: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<f32>;

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
    let row = i / params.length;
    var value = (input[i] - mean[row]) * inverse[row];
    if HAS_SCALE || HAS_BIAS {
        var at = vec2(0u);
        var rest = i;
        for (var k = params.axes; k > 0u; k -= 1u) {
            let axis = k - 1u;
            let size = params.sizes[axis / 4u][axis % 4u];
            at += rest % size * vec2(params.scale_steps[axis / 4u][axis % 4u], params.bias_steps[axis / 4u][axis % 4u]);
            rest /= size;
        }
        if HAS_SCALE {
            value *= scale[at.x];
        }
        if HAS_BIAS {
            value += bias[at.y];
        }
    }
    output[i] = value;
}
