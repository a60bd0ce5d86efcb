// The place of the largest or smallest element along an axis: one invocation per line of elements.

struct Params {
    // Lines; elements of each, and the step in elements between them.
    lines: u32,
    length: u32,
    step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

const GROUP = 64u;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let line = linear_group(group, groups) * GROUP + local;
    if line >= params.lines {
        return;
    }
    let start = line / params.step * params.step * params.length + line % params.step;
    var best = 0u;
    var value = input[start];
    for (var i = 1u; i < params.length; i++) {
        let next = input[start + i * params.step];
        let beyond = select(value > next, next > value, LARGEST);
        let equal = next == value || (is_nan(next) && is_nan(value));
        if (beyond && !is_nan(value)) || (is_nan(next) && !is_nan(value)) || (SELECT_LAST && equal) {
            best = i;
            value = next;
        }
    }
    if ONE_HOT {
        for (var i = 0u; i < params.length; i++) {
            output[start + i * params.step] = select(0u, bitcast<u32>(1.0), i == best);
        }
    } else {
        output[line] = best;
    }
}
