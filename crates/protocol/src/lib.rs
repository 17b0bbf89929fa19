//! Index, commit and block protocols, written once, generic over the fabric
