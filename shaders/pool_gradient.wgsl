// The gradient of pooling: one invocation per element of the pool's input, which gathers from the windows that cover it.

struct Params {
    // Per spatial axis as (depth, height, width).
    input_size: vec4<u32>,
    output_size: vec4<u32>,
    kernel: vec4<u32>,
    stride: vec4<u32>,
    dilation: vec4<u32>,
    before: vec4<u32>,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
// Of max pooling where each maximum was found; of average pooling, for each axis, the divisors of the outputs along it,
// whose product an average was divided by.
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

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
    let size = params.input_size.xyz;
    let positions = params.output_size.xyz;
    let plane = i / (size.x * size.y * size.z) * (positions.x * positions.y * positions.z);
    let at = vec3(i / (size.z * size.y) % size.x, i / size.z % size.y, i % size.z) + params.before.xyz;

    // The windows from `first` up to `last` reach over this element, in padded coordinates.
    let reach = (params.kernel.xyz - 1u) * params.dilation.xyz;
    let stride = params.stride.xyz;
    let first = (max(at, reach) - reach + stride - 1u) / stride;
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let last = min(at / stride + 1u, positions) + group.z;
    var sum = 0.0;
    for (var z = first.x; z < last.x; z++) {
        for (var y = first.y; y < last.y; y++) {
            for (var x = first.z; x < last.z; x++) {
                let window = plane + (z * positions.y + y) * positions.z + x;
                if MAX {
                    sum += select(0.0, gradient[window], table[window] == i);
                } else {
                    let along = vec3(table[z], table[positions.x + y], table[positions.x + positions.y + x]);
                    let share = gradient[window] / f32(max(along.x * along.y * along.z, 1u));
                    let offset = at - vec3(z, y, x) * stride;
                    sum += select(0.0, share, !DILATED || all(offset % params.dilation.xyz == vec3(0u)));
                }
            }
        }
    }
    output[i] = sum;
}
