// The number of this workgroup where a long range of groups is folded into two dimensions (Recording::linear).
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
