"""An OpenID Connect (OIDC) relying party: provider metadata, JWS, claims, authorization code flow with PKCE, groups."""
