//! Where the cluster's secret is read from, and what is refused.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use farrow_config::{Cluster, SecretError, SecretText};
use tempfile::TempDir;

const SECRET: &str = "0123456789abcdef";

fn file(text: impl AsRef<[u8]>, mode: u32) -> (TempDir, Cluster) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("farrow.secret");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    (directory, Cluster { secret_file: Some(path), ..Cluster::default() })
}

fn text(secret: &str) -> Cluster {
    Cluster { secret: Some(SecretText::new(secret)), ..Cluster::default() }
}

#[test]
fn secret_comes_from_text_or_file_without_its_white_space() {
    assert_eq!(text(&format!(" {SECRET}\t")).load_secret().unwrap().expose(), SECRET.as_bytes());
    for mode in [0o600, 0o400, 0o640] {
        let (_directory, cluster) = file(format!("\n{SECRET}\r\n"), mode);
        assert_eq!(cluster.load_secret().unwrap().expose(), SECRET.as_bytes(), "{mode:o}");
    }
}

#[test]
fn file_that_everybody_can_reach_is_refused() {
    for mode in [0o644, 0o604, 0o602, 0o601, 0o777] {
        let (_directory, cluster) = file(SECRET, mode);
        let error = cluster.load_secret().unwrap_err();
        assert!(matches!(error, SecretError::Exposed { mode: found, .. } if found == mode), "{mode:o}");
        let path = cluster.secret_file.unwrap();
        assert!(error.to_string().ends_with(&format!("run `chmod 600 {}`", path.display())), "{error}");
    }
}

#[test]
fn secret_that_is_short_without_its_white_space_is_refused() {
    let error = text("  0123456789abcde  ").load_secret().unwrap_err();
    assert!(matches!(&error, SecretError::TooShort { source, .. } if source.len == 15));
    assert!(error.to_string().starts_with("cluster.secret: "), "{error}");
    assert!(!error.to_string().contains("01234"), "{error}");
    let (_directory, cluster) = file("", 0o600);
    assert!(matches!(cluster.load_secret(), Err(SecretError::TooShort { source, .. }) if source.len == 0));
}

#[test]
fn missing_double_and_unreadable_secrets_are_told_apart() {
    let error = Cluster::default().load_secret().unwrap_err();
    assert!(matches!(error, SecretError::Missing));
    assert!(error.to_string().contains("/dev/urandom"), "{error}");

    let both = Cluster { secret_file: Some(PathBuf::from("x")), ..text(SECRET) };
    assert!(matches!(both.load_secret(), Err(SecretError::Both)));

    let gone = Cluster { secret_file: Some(PathBuf::from("/nonexistent/secret")), ..Cluster::default() };
    let error = gone.load_secret().unwrap_err();
    assert!(matches!(error, SecretError::Unreadable { .. }));
    assert!(error.to_string().contains("/nonexistent/secret"), "{error}");
}

#[test]
fn file_too_long_for_a_secret_is_refused() {
    let (_directory, cluster) = file(vec![b'x'; (64 << 10) + 1], 0o600);
    assert!(matches!(cluster.load_secret(), Err(SecretError::TooLong { .. })));
    let (_directory, cluster) = file(vec![b'x'; 64 << 10], 0o600);
    assert_eq!(cluster.load_secret().unwrap().expose().len(), 64 << 10);
}
