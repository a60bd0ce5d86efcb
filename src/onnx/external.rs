//! Weights in files beside the model.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::element::{ElementType, Fault, shape_of};
use super::proto::{TensorProto, Words};

/// Whether the tensor's elements are in another file.
pub(super) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == 1
}

/// Reads the elements of an external tensor into its `raw_data`.
///
/// The file lies in `folder` or below it, symbolic links resolved; without a folder there are no files. What the tensor
/// asks for is compared with the file's length before any memory is taken.
pub(super) fn load(tensor: &mut TensorProto, folder: Option<&Path>) -> Result<(), Fault> {
    let malformed = |reason: String| Fault::Malformed(format!("external data: {reason}"));
    let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number = |key: &str| {
        let text = entry(key).map(str::trim);
        text.map(|text| text.parse::<u64>().map_err(|_| malformed(format!("the {key} '{text}'")))).transpose()
    };
    let location = entry("location").ok_or_else(|| malformed("no location".into()))?;
    let folder = folder.ok_or_else(|| {
        Fault::Unsupported(format!("external data ('{location}') of a model that is not a file"))
    })?;
    let path = resolve(folder, location).map_err(malformed)?;
    let element = ElementType::from_number(tensor.data_type);
    let size = element.size().ok_or_else(|| Fault::Unsupported(format!("a tensor of {element}")))?;
    let needed = shape_of(&tensor.dims)?.elements().checked_mul(size);
    let needed = needed.ok_or_else(|| malformed("more bytes than can be addressed".into()))?;
    let offset = number("offset")?.unwrap_or(0);
    if let Some(length) = number("length")?
        && usize::try_from(length) != Ok(needed)
    {
        return Err(malformed(format!("{length} bytes for a tensor of {needed}")));
    }

    let unreadable = |e: std::io::Error| malformed(format!("'{location}': {e}"));
    let mut file = File::open(&path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let available = length.checked_sub(offset).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    if available < needed {
        return Err(malformed(format!(
            "'{location}' has {length} bytes, a tensor needs {needed} from byte {offset} on"
        )));
    }
    file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
    let mut data = Words::zeros(needed);
    file.read_exact(data.bytes_mut()).map_err(unreadable)?;
    tensor.raw_data = Some(data);
    Ok(())
}

/// The regular file that `location` names below `folder`.
fn resolve(folder: &Path, location: &str) -> Result<PathBuf, String> {
    let relative = Path::new(location);
    let inside = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if location.is_empty() || location.contains('\\') || !inside {
        return Err(format!("the location '{location}' is not a path below the model's folder"));
    }
    let real = |path: &Path| path.canonicalize().map_err(|e| format!("'{location}': {e}"));
    let (folder, path) = (real(folder)?, real(&folder.join(relative))?);
    if !path.starts_with(&folder) {
        return Err(format!("the location '{location}' leads out of the model's folder"));
    }
    if !path.is_file() {
        return Err(format!("'{location}' is not a file"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::super::proto::StringStringEntryProto;
    use super::*;

    fn external(entries: &[(&str, &str)], dims: Vec<i64>) -> TensorProto {
        let external_data = entries
            .iter()
            .map(|(key, value)| StringStringEntryProto { key: (*key).into(), value: (*value).into() })
            .collect();
        TensorProto { dims, data_type: 1, data_location: 1, external_data, ..Default::default() }
    }

    #[test]
    fn data_are_read_where_the_tensor_says_and_nowhere_else() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("model");
        std::fs::create_dir(&folder).unwrap();
        let bytes: Vec<u8> = [1f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(folder.join("w.bin"), &bytes).unwrap();
        std::fs::write(outer.path().join("secret"), &bytes).unwrap();

        let mut good = external(&[("location", "w.bin"), ("offset", "4"), ("length", "8")], vec![2]);
        assert!(load(&mut good, Some(&folder)).is_ok());
        assert_eq!(good.raw_data.map(Words::into_f32), Some(vec![2.0, 3.0]));

        let absolute = outer.path().join("secret");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&absolute, folder.join("link")).unwrap();
        let bad: &[&[(&str, &str)]] = &[
            &[("location", "../secret")],
            &[("location", absolute.to_str().unwrap())],
            &[("location", "link")],
            &[("location", "..\\secret")],
            &[("location", "missing")],
            &[("location", ".")],
            &[("location", "w.bin"), ("offset", "8")],
            &[("location", "w.bin"), ("offset", "18446744073709551615")],
            &[("location", "w.bin"), ("length", "12")],
            &[("location", "w.bin"), ("offset", "-4")],
            &[],
        ];
        for entries in bad {
            let fault = load(&mut external(entries, vec![2]), Some(&folder));
            assert!(matches!(fault, Err(Fault::Malformed(_))), "{entries:?}");
        }
        let huge = load(&mut external(&[("location", "w.bin")], vec![1 << 40]), Some(&folder));
        assert!(matches!(huge, Err(Fault::Malformed(_))));
    }
}
