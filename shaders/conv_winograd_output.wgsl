// From Winograd's form to a convolution's output, A^T m A, and what follows the sums: one invocation per tile and filter.

alias Value = f32;

@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<Stored>;
@group(0) @binding(4) var<storage, read_write> output: array<Stored>;

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
    let tile = tile_at(i);
    if !tile.inside {
        return;
    }
    var m: array<array<Value, SIDE>, OUTPUTS>;
    for (var x = 0u; x < SIDE; x++) {
        var line: array<Value, SIDE>;
        for (var y = 0u; y < SIDE; y++) {
            line[y] = input[(y * SIDE + x) * params.count + i];
        }
        var sums = backward(line);
        for (var y = 0u; y < OUTPUTS; y++) {
            m[y][x] = sums[y];
        }
    }
    let valid = min(OUTPUTS, params.width - tile.left);
    for (var y = 0u; y < OUTPUTS; y++) {
        if tile.top + y < params.height {
            var line = backward(m[y]);
            var sums = vec4<f32>();
            for (var x = 0u; x < OUTPUTS; x++) {
                sums[x] = line[x];
            }
            finish4(tile.channel, (tile.plane + tile.top + y) * params.width + tile.left, valid, sums);
        }
    }
}
