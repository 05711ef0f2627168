//! Public keys of the vectors, and others of the same kind.

/// Two keys of a kind, in the form in which the vectors have the first.
pub(super) const OTHER_KEYS: [(&str, &str); 3] = [
    (
        "8af4f6b51eab43620a19990cd8473dcf70f954ff5ce3da79d0ef666f5f8602ab",
        "b306e1104e21dcfb453c7e06cd698eaacfe5459e84d4b6905d996c6ee5851aab",
    ),
    (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzdFGIrd4XGZRj06fFH8Fcy9bzHkkYUAnS9y85LAmYr9IAgvNeFtwf+Il8iXPYD4psWNlZyGvPedGVap+BO6EKQ==",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE4DBkw58vE5Qm1SUZQ1RKx0qwXeQIG/Gip04mT2CVfvvYqikvJjdUPc215V389iZDfcBJdlH374WQxn2DpfrWLg==",
    ),
    (
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAy/I8NmgHCRZGeSLWU8jj\n5dLsi7+ITpI+EmW0ElYlGIxFX/6Pq5os/14te0T087OPF3KX+sddqE4VVA2sSkDd\nIQjFOJRV/cuMgihzm5afmuBxDUBSXVSCWYoQduWsEu5jsw+ruc59V9cnBnx/elec\nlcFTTmBVih5z4uY7VT7CLDYvmaLX1steY3AYycVBDksShn/WO47ZnDR2eQTP1Sgy\nugl3tV9BWYdahVTDPhywyAotFKzn6+Hd36Z89tA4OuMteMCCrPbX7B6KQ2Qbscso\nk3QVNrF2R32NQ3ZgELFvnQEzXxHaBXRpNtrqri8lpKZfjJMip45J3DITFMBKrXfg\nIQIDAQAB\n-----END PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAucCSLyNrHCGANuqm/uOQ\nN4kQP21GRQpuAVXqtQBbQQ9c9PLia4vh1GSRRmPyedHQ37IXbYTGDu9iH2/HQ650\nsOOSKI6psWum6ZiB4pheIwesaLo9OcWauNffp1L1dkaq2M1t9Pplm1bIjucfrlL0\nkSfPewq5LS0a80u9gR1sHklQPfykVJMbscZoQuUDeMa7YB8cxEyDcNZkJXrruGHe\nSjB8ZhnT7TBy9To2JezcUSMVVTof1NQktvIS/Wo1c4Yp07AF4xcZUCjIKKlUCTLk\ndn2t1YGBjYufAXuVh8Er83R4SBeFZjCMzoshPQk1pa2ez3BFZskaZcKskb+IDGmz\nVQIDAQAB\n-----END PUBLIC KEY-----",
    ),
];
