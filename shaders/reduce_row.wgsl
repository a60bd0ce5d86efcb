// Reduction: one invocation per output.

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
    if params.length == 0u {
        output[i] = params.empty;
        return;
    }
    let start = offset(i, params.kept, params.kept_steps);
    var shift = 0.0;
    if KIND == LOG_SUM_EXP {
        shift = shift_by(reduce(MAX, start, 0.0));
    }
    output[i] = finish(KIND, reduce(KIND, start, shift), shift);
}

fn reduce(kind: u32, start: u32, shift: f32) -> f32 {
    var result = initial(kind, input[start]);
    let steps = params.reduced_steps;
    for (var x = 0u; x < params.reduced.x; x += 1u) {
        for (var y = 0u; y < params.reduced.y; y += 1u) {
            for (var z = 0u; z < params.reduced.z; z += 1u) {
                var at = start + x * steps.x + y * steps.y + z * steps.z;
                for (var w = 0u; w < params.reduced.w; w += 1u) {
                    result = combine(kind, result, term(kind, input[at], shift));
                    at += steps.w;
                }
            }
        }
    }
    return result;
}
