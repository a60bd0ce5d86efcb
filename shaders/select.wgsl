// output[i] = a where the condition is not 0, else b, of the elements that broadcast to i. Bit for bit.

struct Params {
    // The output's axes, at most eight, and the steps in elements along them; 0 where an operand is repeated.
    sizes: array<vec4<u32>, 2>,
    condition_steps: array<vec4<u32>, 2>,
    a_steps: array<vec4<u32>, 2>,
    b_steps: array<vec4<u32>, 2>,
    axes: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> condition: array<u32>;
@group(0) @binding(2) var<storage, read> a: array<u32>;
@group(0) @binding(3) var<storage, read> b: array<u32>;
@group(0) @binding(4) var<storage, read_write> output: array<u32>;

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
    var at = vec3(0u);
    var rest = i;
    for (var k = params.axes; k > 0u; k -= 1u) {
        let axis = k - 1u;
        let size = params.sizes[axis / 4u][axis % 4u];
        at += rest % size * vec3(
            params.condition_steps[axis / 4u][axis % 4u],
            params.a_steps[axis / 4u][axis % 4u],
            params.b_steps[axis / 4u][axis % 4u],
        );
        rest /= size;
    }
    output[i] = select(b[at.z], a[at.y], condition[at.x] != 0u);
}
