//! What the command line says.

use anyhow::{Context, Result};

/// The values behind the `known` options, `None` for those that are not there.
pub fn options<const N: usize>(known: [&str; N]) -> Result<[Option<String>; N]> {
    let mut values = [const { None }; N];
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let at = known
            .iter()
            .position(|name| *name == arg)
            .with_context(|| format!("unknown option '{arg}'; there are: {}", known.join(", ")))?;
        values[at] = Some(args.next().with_context(|| format!("{arg} needs a value"))?);
    }
    Ok(values)
}
