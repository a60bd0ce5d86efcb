// The gradient of pooling: one invocation per element of the pool's input, which gathers from the windows that cover it.
//
// Strides and dilations are constants: processors that have no division of vectors would otherwise divide lane by lane.

struct Params {
    // Per spatial axis as (depth, height, width).
    input_size: vec4<u32>,
    output_size: vec4<u32>,
    kernel: vec4<u32>,
    stride: vec4<u32>,
    dilation: vec4<u32>,
    before: vec4<u32>,
    count: u32,
    // What every average was divided by, where that is the same.
    divisor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
// Of max pooling where each maximum was found; of average pooling, where the divisors differ, for each axis those of the
// outputs along it, whose product an average was divided by.
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
    let line = i / size.z;
    let layer = line / size.y;
    let image = layer / size.x;
    let plane = image * (positions.x * positions.y * positions.z);
    let place = vec3(layer - image * size.x, line - layer * size.y, i - line * size.z) + params.before.xyz;

    // The windows from `first` up to `last` reach over this element, in padded coordinates.
    let stride = vec3(STRIDE_Z, STRIDE_Y, STRIDE_X);
    let dilation = vec3(DILATION_Z, DILATION_Y, DILATION_X);
    let reach = (params.kernel.xyz - 1u) * dilation;
    let first = (max(place, reach) - reach + stride - 1u) / stride;
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let last = min(place / stride + 1u, positions) + group.z;
    var sum = 0.0;
    for (var z = first.x; z < last.x; z++) {
        for (var y = first.y; y < last.y; y++) {
            for (var x = first.z; x < last.z; x++) {
                let window = plane + (z * positions.y + y) * positions.z + x;
                let offset = place - vec3(z, y, x) * stride;
                var share = gradient[window];
                if MAX {
                    share = select(0.0, share, table[window] == i);
                } else if EVEN {
                    share = share / params.divisor;
                } else {
                    let along = vec3(table[z], table[positions.x + y], table[positions.x + positions.y + x]);
                    share = share / f32(max(along.x * along.y * along.z, 1u));
                }
                // A dilated window has no tap between its taps.
                sum += select(0.0, share, all(offset % dilation == vec3(0u)));
            }
        }
    }
    output[i] = sum;
}
