// A linear layer over images of one pixel: an invocation computes four features of ROWS images.

struct Params {
    // Images, and texels of one image's inputs and outputs.
    images: u32,
    depth: u32,
    filters: u32,
    // Channels in the last texel of the output; the others are kept at 0.
    last_lanes: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// Binding 1 is the input (shared/image_input.wgsl).
// Texel (f4 * depth + c4) * 4 + f: the weights of feature 4 f4 + f for inputs 4 c4 to 4 c4 + 3.
@group(0) @binding(2) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
// The output, as shared/image_output.wgsl or image_words.wgsl store it.
const OUTPUT = 4;

const GROUP = 16u;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_group(group, groups) * GROUP + local;
    let filter_ = i % params.filters;
    let first = i / params.filters * ROWS;
    if first >= params.images {
        return;
    }
    var sums: array<vec4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        sums[r] = vec4<f32>();
    }
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let depth = params.depth + group.z;
    for (var c = 0u; c < depth; c++) {
        let at = (filter_ * depth + c) * 4u;
        let w0 = textureLoad(weight, texel_at(at));
        let w1 = textureLoad(weight, texel_at(at + 1u));
        let w2 = textureLoad(weight, texel_at(at + 2u));
        let w3 = textureLoad(weight, texel_at(at + 3u));
        for (var r = 0u; r < ROWS; r++) {
            let x = load_input(min(first + r, params.images - 1u) * depth + c);
            sums[r] += vec4(dot(w0, x), dot(w1, x), dot(w2, x), dot(w3, x));
        }
    }
    var shift = vec4<f32>();
    if HAS_BIAS {
        shift = bias[filter_];
    }
    for (var r = 0u; r < ROWS; r++) {
        if first + r < params.images {
            let to = (first + r) * params.filters + filter_;
            store_output(to, mask(activate4(sums[r] + shift), filter_ + 1u == params.filters, params.last_lanes));
        }
    }
}
