// Each element of the output is a copy of one of the input, or the border's. Bit for bit.

struct Params {
    // The output's axes, at most eight: their sizes, and where their tables start.
    sizes: array<vec4<u32>, 2>,
    starts: array<vec4<u32>, 2>,
    axes: u32,
    count: u32,
    // What is outside the input.
    fill: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<u32>;
// For each axis, what each position along it adds to the place read, or OUTSIDE.
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<u32>;

const GROUP = 64u;
const OUTSIDE = 0xffffffffu;

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
    var at = 0u;
    var inside = true;
    var rest = i;
    for (var k = params.axes; k > 0u; k -= 1u) {
        let axis = k - 1u;
        let size = params.sizes[axis / 4u][axis % 4u];
        let step = tables[params.starts[axis / 4u][axis % 4u] + rest % size];
        inside = inside && step != OUTSIDE;
        at += step;
        rest /= size;
    }
    var word = params.fill;
    if inside {
        word = input[at];
    }
    output[i] = word;
}
