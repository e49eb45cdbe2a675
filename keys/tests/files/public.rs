//! Public key files.

use pspf_keys::{KeyError, PublicKey, SecretKey};

use crate::tools::{Dir, pem, pem_content, public_error, replaced};

/// From minisign's README: the key that its own releases are signed with.
const MINISIGN: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
const MINISIGN_KEY: &str = "79a561e70ee08cd3e754c63e9bd6b9c3520a1d4204cd104da2e7ef763b1853b7";

fn key() -> PublicKey {
    SecretKey::from_seed(&[1; 32]).public_key()
}

fn hex(key: &PublicKey) -> String {
    key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn malformed(file: &[u8], field: &str) {
    match public_error(file) {
        KeyError::Malformed { field: found, .. } => assert_eq!(found, field),
        other => panic!("expected a malformed `{field}`, got {other:?}"),
    }
}

#[test]
fn openssl_and_ssh_keygen_agree_with_us() {
    let dir = Dir::new();
    dir.new_openssl_key();
    let der = dir.openssl("pkey -pubin -in public.pem -outform DER");
    assert_eq!(&der[12..], dir.openssl_public().as_bytes());

    dir.new_ssh_key("", &["-C", "Jo <jo@example.com>, release"]);
    let spki = dir.ssh_keygen(&["-e", "-m", "RFC4716", "-f", "id.pub"]);
    assert_eq!(public_error(&spki), KeyError::UnsupportedFormat { found: "an SSH2 public key (RFC 4716)".to_owned() });
    let line = dir.ssh_public().to_openssh("Jo <jo@example.com>, release");
    assert_eq!(line.as_bytes(), dir.read("id.pub").trim_ascii_end());
    std::fs::write(dir.path("ours.pub"), key().to_openssh("")).unwrap();
    dir.ssh_keygen(&["-l", "-f", "ours.pub"]);
}

#[test]
fn minisign_with_and_without_its_comment() {
    let with = format!("untrusted comment: minisign public key E7620F1842B4E81F\n{MINISIGN}\n");
    for file in [MINISIGN, &with, &with.replace('\n', "\r\n")] {
        let key = PublicKey::parse(file.as_bytes()).unwrap();
        assert_eq!(hex(&key), MINISIGN_KEY);
    }
    let signature = format!("untrusted comment: signature\n{}=\ntrusted comment: t\n", "A".repeat(99));
    assert_eq!(
        public_error(signature.as_bytes()),
        KeyError::UnsupportedFormat { found: "a minisign signature".to_owned() }
    );
    let two = format!("{with}{with}");
    assert_eq!(public_error(two.as_bytes()), KeyError::SeveralKeys);
    let prehashed = with.replace("RWQf", "RURf");
    malformed(prehashed.as_bytes(), "algorithm");
}

#[test]
fn a_text_that_only_looks_like_minisign_is_none_of_the_forms() {
    // The same for DER, whose first byte is the digit zero.
    for text in ["RWhat is this", &"x".repeat(56), &MINISIGN[..55], &format!("{MINISIGN}A"), "0123", "ä"] {
        assert_eq!(public_error(text.as_bytes()), KeyError::Unrecognized, "{text}");
    }
    let found = "DER".to_owned();
    assert_eq!(public_error(b"\x30\x2a\x30\x05\xff"), KeyError::UnsupportedFormat { found });
}

#[test]
fn hex_digits_of_either_case() {
    let text = hex(&key());
    for file in [text.clone(), text.to_uppercase(), format!("{text}\n")] {
        assert_eq!(PublicKey::parse(file.as_bytes()), Ok(key()));
    }
    for file in [&text[1..], &format!("{text}0"), &text.replace('a', "g")] {
        assert_eq!(public_error(file.as_bytes()), KeyError::Unrecognized);
    }
    let fingerprint = format!("ed25519:{}", key().fingerprint());
    assert_eq!(public_error(fingerprint.as_bytes()), KeyError::FingerprintGivenAsKey);
}

#[test]
fn what_editors_and_secret_stores_do_is_accepted() {
    let dir = Dir::new();
    dir.new_openssl_key();
    let spki = String::from_utf8(dir.read("public.pem")).unwrap();
    let expected = dir.openssl_public();
    for text in [spki, format!("{}\n", expected.to_openssh("c")), hex(&expected)] {
        for file in [
            text.replace('\n', "\r\n"),
            format!("\u{feff}{text}"),
            format!("\n\n  {}  \n\n", text.trim_end()),
            text.trim_end().to_owned(),
            text.replace('\n', "  \n  "),
        ] {
            assert_eq!(PublicKey::parse(file.as_bytes()), Ok(expected), "{file:?}");
        }
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf16 = [b"\xff\xfe", utf16.as_slice()].concat();
        assert_eq!(public_error(&utf16), KeyError::Utf16);
    }
}

#[test]
fn the_comment_may_be_anything_and_adds_no_line() {
    let line = key().to_openssh("");
    for comment in [b"".as_slice(), b"two words", b"\xff\xfe latin", b"# x"] {
        let file = [line.as_bytes(), b" ", comment, b"\n"].concat();
        assert_eq!(PublicKey::parse(&file), Ok(key()));
    }
    let written = key().to_openssh("a\nssh-rsa AAAA\r\u{1b}[31m");
    assert_eq!(written, format!("{line} a ssh-rsa AAAA  [31m"));
}

#[test]
fn other_algorithms_are_named() {
    let dir = Dir::new();
    for (options, name) in [
        ("-algorithm x25519", "X25519"),
        ("-algorithm ed448", "Ed448"),
        ("-algorithm rsa -pkeyopt rsa_keygen_bits:2048", "RSA"),
        ("-algorithm ec -pkeyopt ec_paramgen_curve:P-256", "EC"),
    ] {
        dir.openssl(&format!("genpkey {options} -out other.pem"));
        let file = dir.openssl("pkey -in other.pem -pubout");
        let found = name.to_owned();
        assert_eq!(public_error(&file), KeyError::OtherAlgorithm { found });
    }
    dir.ssh_keygen(&["-q", "-t", "ecdsa", "-N", "", "-f", "ecdsa"]);
    assert_eq!(
        public_error(&dir.read("ecdsa.pub")),
        KeyError::OtherAlgorithm { found: "ecdsa-sha2-nistp256".to_owned() }
    );
    dir.new_ssh_key("", &[]);
    dir.ssh_keygen(&["-q", "-s", "ecdsa", "-I", "me", "id.pub"]);
    assert_eq!(public_error(&dir.read("id-cert.pub")), KeyError::Certificate);
    dir.new_openssl_key();
    let file = dir.openssl("req -new -x509 -key plain.pem -subj /CN=x");
    assert_eq!(public_error(&file), KeyError::Certificate);
}

#[test]
fn a_private_key_is_called_one() {
    let dir = Dir::new();
    let plain = dir.new_openssl_key();
    let encrypted = dir.openssl_encrypted("-v2 aes-256-cbc");
    let ssh = dir.new_ssh_key("", &[]);
    let both = [dir.read("public.pem"), plain.clone()].concat();
    let cut = plain[..40].to_vec();
    for file in [plain, encrypted, ssh, both, cut] {
        assert_eq!(public_error(&file), KeyError::PrivateGivenAsPublic);
    }
}

#[test]
fn more_than_one_key_and_garbage_are_refused() {
    let dir = Dir::new();
    dir.new_openssl_key();
    let spki = dir.read("public.pem");
    let line = key().to_openssh("c").into_bytes();
    let twice = |file: &[u8]| public_error(&[file, b"\n", file].concat());
    assert_eq!(twice(&spki), KeyError::SeveralKeys);
    assert_eq!(twice(&line), KeyError::SeveralKeys);
    for file in [&spki, &line] {
        assert!(matches!(public_error(&[file, b"\ngarbage\n".as_slice()].concat()), KeyError::TrailingData { .. }));
    }
    let before = [b"garbage\n", spki.as_slice()].concat();
    assert_eq!(public_error(&before), KeyError::LeadingText);
    let der = pem_content(&spki);
    let longer = pem("PUBLIC KEY", &[der.as_slice(), b"\0"].concat());
    assert!(matches!(public_error(&longer), KeyError::TrailingData { .. }));
    assert_eq!(public_error(&pem("PKCS7", &der)), KeyError::UnsupportedFormat { found: "PEM `PKCS7`".to_owned() });
    assert!(matches!(public_error(&spki[..spki.len() - 20]), KeyError::PemWithoutEnd { .. }));
    assert_eq!(public_error(&der), KeyError::UnsupportedFormat { found: "DER".to_owned() });
}

#[test]
fn weak_keys_are_refused_in_every_form() {
    use base64ct::{Base64, Encoding};
    let mut weak = [0; 32];
    weak[0] = 1;
    let head = hex_bytes("302a300506032b6570032100");
    let ssh = [b"\0\0\0\x0bssh-ed25519\0\0\0\x20", weak.as_slice()].concat();
    let minisign = [b"Ed12345678", weak.as_slice()].concat();
    for file in [
        pem("PUBLIC KEY", &[head.as_slice(), &weak].concat()),
        format!("ssh-ed25519 {}", Base64::encode_string(&ssh)).into_bytes(),
        Base64::encode_string(&minisign).into_bytes(),
        format!("01{}", "00".repeat(31)).into_bytes(),
    ] {
        assert_eq!(public_error(&file), KeyError::Weak);
    }
}

#[test]
fn damaged_fields_are_named() {
    let dir = Dir::new();
    dir.new_openssl_key();
    let der = pem_content(&dir.read("public.pem"));
    // Parameters NULL, which RFC 8410 forbids.
    let with_null = replaced(&der, &hex_bytes("302a3005"), &hex_bytes("302c3007"));
    let with_null = replaced(&with_null, &hex_bytes("2b6570"), &hex_bytes("2b65700500"));
    malformed(&pem("PUBLIC KEY", &with_null), "AlgorithmIdentifier.parameters");
    let short = replaced(&der[..43], &hex_bytes("302a"), &hex_bytes("3029"));
    let short = replaced(&short, &hex_bytes("0321"), &hex_bytes("0320"));
    malformed(&pem("PUBLIC KEY", &short), "subjectPublicKey");

    assert!(matches!(public_error(b"ssh-ed25519"), KeyError::BadBase64 { .. }));
    malformed(b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "public key");
    for text in ["ssh-ed25519 ????", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5=="] {
        assert!(matches!(public_error(text.as_bytes()), KeyError::BadBase64 { .. }));
    }
    assert_eq!(public_error(b" \r\n\t"), KeyError::Empty);
    assert_eq!(public_error(b""), KeyError::Empty);
}

fn hex_bytes(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}
