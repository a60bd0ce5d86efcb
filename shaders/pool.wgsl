// Max, average or Lp pooling: one invocation per output element.

@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

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
    let plane = i / volume(positions) * volume(size);
    let position = vec3(
        i / (positions.z * positions.y) % positions.x,
        i / positions.z % positions.y,
        i % positions.z,
    );

    // The taps on the input are those from `first` up to `last`.
    let start = position * params.stride.xyz;
    let before = params.before.xyz;
    let first = taps_before(before, start);
    let last = taps_before(before + size, start);

    // The maximum of a window that lies in the padding altogether is minus infinity at -1.
    var best = params.lowest;
    var best_at = vec3(0u);
    var found = false;
    var sum = 0.0;
    for (var d = first.x; d < last.x; d += 1u) {
        for (var h = first.y; h < last.y; h += 1u) {
            for (var w = first.z; w < last.z; w += 1u) {
                let at = start + vec3(d, h, w) * params.dilation.xyz - before;
                let x = input[plane + (at.x * size.y + at.y) * size.z + at.z];
                if KIND != MAX {
                    sum += term(x);
                } else if !found || x > best || (is_nan(x) && !is_nan(best)) {
                    // The first of equals wins, and a NaN over numbers.
                    best = x;
                    best_at = at;
                    found = true;
                }
            }
        }
    }

    if KIND != MAX {
        output[i] = finish(sum, start);
        return;
    }
    output[i] = best;
    let by_rows = (best_at.x * size.y + best_at.y) * size.z + best_at.z;
    let by_columns = (best_at.z * size.y + best_at.y) * size.x + best_at.x;
    let index = plane + select(by_rows, by_columns, COLUMN_MAJOR);
    store_index(i, select(0xffffffffu, index, found));
}
