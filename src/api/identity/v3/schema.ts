import { type Static, Type } from "typebox";

/** Requests of the Identity API v3, as its reference has them; properties that we do not keep are let through, as Keystone does. */

const Id = Type.String({ minLength: 1, maxLength: 64 });
/** Not only white space, as Keystone's `validators.name`. */
const nameOf = (maxLength: number) => Type.String({ minLength: 1, maxLength, pattern: "\\S" });
const Name = nameOf(255);
const ShortName = nameOf(64);
const Text = Type.String({ maxLength: 4096 });
const Password = Type.String({ minLength: 1, maxLength: 4096 });
const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) => Type.Union([schema, Type.Null()]);

const DomainReference = Type.Object({ id: Type.Optional(Id), name: Type.Optional(Name) });
const UserReference = Type.Object({ id: Type.Optional(Id), name: Type.Optional(Name), domain: Type.Optional(DomainReference) });
const ProjectReference = UserReference;

const RequestedScope = Type.Object({
  project: Type.Optional(ProjectReference),
  domain: Type.Optional(DomainReference),
  system: Type.Optional(Type.Object({ all: Type.Optional(Type.Boolean()) })),
  unscoped: Type.Optional(Type.Object({})),
});

export const AuthRequest = Type.Object({
  auth: Type.Object({
    identity: Type.Object({
      methods: Type.Array(Type.String(), { minItems: 1, maxItems: 8 }),
      password: Type.Optional(
        Type.Object({ user: Type.Intersect([UserReference, Type.Object({ password: Type.String({ maxLength: 4096 }) })]) }),
      ),
      token: Type.Optional(Type.Object({ id: Type.String({ minLength: 1, maxLength: 4096 }) })),
      application_credential: Type.Optional(
        Type.Object({
          id: Type.Optional(Id),
          name: Type.Optional(Name),
          user: Type.Optional(UserReference),
          secret: Type.String({ maxLength: 4096 }),
        }),
      ),
    }),
    scope: Type.Optional(Type.Union([Type.Literal("unscoped"), RequestedScope])),
  }),
});
export type AuthRequest = Static<typeof AuthRequest>;
export type DomainReference = Static<typeof DomainReference>;
export type UserReference = Static<typeof UserReference>;

export const CatalogQuery = Type.Object({ nocatalog: Type.Optional(Type.String()) });

/** Python's clients send `True` and `False`; Keystone takes a bare `?enabled` for true. */
const Flag = Type.String({ pattern: "^(|true|True|TRUE|1|false|False|FALSE|0)$" });

const page = { limit: Type.Optional(Type.Integer({ minimum: 1 })), marker: Type.Optional(Id) };
export const ListQuery = Type.Object({
  ...page,
  name: Type.Optional(Name),
  domain_id: Type.Optional(Type.String()),
  parent_id: Type.Optional(Type.String()),
  enabled: Type.Optional(Flag),
});
export type ListQuery = Static<typeof ListQuery>;

const domainFields = { description: Type.Optional(nullable(Text)), enabled: Type.Optional(Type.Boolean()) };
export const CreateDomain = Type.Object({ domain: Type.Object({ name: ShortName, ...domainFields }) });
export const UpdateDomain = Type.Object({ domain: Type.Object({ name: Type.Optional(ShortName), ...domainFields }) });

const projectFields = {
  domain_id: Type.Optional(nullable(Id)),
  parent_id: Type.Optional(nullable(Id)),
  description: Type.Optional(nullable(Text)),
  enabled: Type.Optional(Type.Boolean()),
};
export const CreateProject = Type.Object({ project: Type.Object({ name: ShortName, ...projectFields }) });
export const UpdateProject = Type.Object({ project: Type.Object({ name: Type.Optional(ShortName), ...projectFields }) });
export type ProjectBody = Static<typeof UpdateProject>["project"];

const userFields = {
  domain_id: Type.Optional(nullable(Id)),
  default_project_id: Type.Optional(nullable(Id)),
  description: Type.Optional(nullable(Text)),
  email: Type.Optional(nullable(Text)),
  enabled: Type.Optional(Type.Boolean()),
  password: Type.Optional(nullable(Password)),
};
export const CreateUser = Type.Object({ user: Type.Object({ name: Name, ...userFields }) });
export const UpdateUser = Type.Object({ user: Type.Object({ name: Type.Optional(Name), ...userFields }) });
export type UserBody = Static<typeof UpdateUser>["user"];
export const ChangePassword = Type.Object({
  user: Type.Object({ original_password: Type.String({ maxLength: 4096 }), password: Password }),
});

const roleFields = { description: Type.Optional(nullable(Text)) };
export const CreateRole = Type.Object({ role: Type.Object({ name: Name, ...roleFields }) });
export const UpdateRole = Type.Object({ role: Type.Object({ name: Type.Optional(Name), ...roleFields }) });

export const RoleAssignmentQuery = Type.Object({
  "user.id": Type.Optional(Id),
  "group.id": Type.Optional(Id),
  "role.id": Type.Optional(Id),
  "scope.project.id": Type.Optional(Id),
  "scope.domain.id": Type.Optional(Id),
  "scope.system": Type.Optional(Type.String()),
  include_names: Type.Optional(Flag),
  effective: Type.Optional(Flag),
});
export type RoleAssignmentQuery = Static<typeof RoleAssignmentQuery>;

const RoleReference = Type.Union([Type.Object({ id: Id }), Type.Object({ name: Name })]);
export const CreateApplicationCredential = Type.Object({
  application_credential: Type.Object({
    name: Name,
    description: Type.Optional(nullable(Text)),
    secret: Type.Optional(nullable(Type.String({ minLength: 1, maxLength: 4096 }))),
    roles: Type.Optional(nullable(Type.Array(RoleReference, { maxItems: 64 }))),
    expires_at: Type.Optional(nullable(Type.String({ maxLength: 64 }))),
    unrestricted: Type.Optional(nullable(Type.Boolean())),
    access_rules: Type.Optional(nullable(Type.Array(Type.Unknown()))),
  }),
});
export type ApplicationCredentialBody = Static<typeof CreateApplicationCredential>["application_credential"];

export const CatalogFilter = Type.Object({
  type: Type.Optional(Type.String()),
  name: Type.Optional(Type.String()),
  interface: Type.Optional(Type.String()),
  service_id: Type.Optional(Type.String()),
  region_id: Type.Optional(Type.String()),
});
export type CatalogFilter = Static<typeof CatalogFilter>;

export const IdPath = Type.Object({ id: Type.String() });
