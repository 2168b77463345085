# Role-based access control in four levels, with scopes and access lists.
#
# The input is a case as it is published, except that a permission is an object with
# `negate`, `type` and `action`, and an allow-list entry one with `type` and `id`.
package authd.rbac

import rego.v1

default allow := false

allow if {
	fits
	level([input.subject.scope])
	permitted
}

permitted if level(input.subject.roles)

permitted if {
	belongs
	shared
}

fits if {
	some entry in input.subject.scope.allow_list
	entry.type in {"*", input.object.type}
	entry.id in {"*", input.object.id}
}

anywhere if input.object.any_org

members contains organization if {
	some role in input.subject.roles
	some organization, _ in role.by_org_id
}

owned if {
	input.object.owner != ""
	input.object.owner == input.subject.id
}

belongs if {
	anywhere
	count(members) > 0
}

belongs if {
	not anywhere
	input.object.org_owner in members
}

matches(permission) if {
	permission.type in {"*", input.object.type}
	permission.action in {"*", input.action}
}

vote(permissions) := -1 if {
	some permission in permissions
	permission.negate
	matches(permission)
} else := 1 if {
	some permission in permissions
	matches(permission)
} else := 0

org_vote(roles, organization) := vote([permission |
	some role in roles
	some permission in role.by_org_id[organization].org
])

member_vote(roles, organization) := vote([permission |
	some role in roles
	some permission in role.by_org_id[organization].member
])

level(roles) if {
	site := vote([permission |
		some role in roles
		some permission in role.site
	])
	decided(site, roles)
}

decided(1, _) := true

decided(0, roles) if {
	owned
	input.object.org_owner == ""
	not anywhere
	vote([permission |
		some role in roles
		some permission in role.user
	]) == 1
}

decided(0, roles) if {
	not anywhere
	input.object.org_owner in members
	in_organization(org_vote(roles, input.object.org_owner), roles)
}

decided(0, roles) if {
	anywhere
	best := max([org_vote(roles, organization) | some organization in members])
	in_any(best, roles)
}

in_organization(1, _) := true

in_organization(0, roles) if {
	owned
	member_vote(roles, input.object.org_owner) == 1
}

in_any(1, _) := true

in_any(0, roles) if {
	owned
	some organization in members
	member_vote(roles, organization) == 1
}

shared if grants(input.object.acl_user_list[input.subject.id])

shared if {
	some group in input.subject.groups
	grants(input.object.acl_group_list[group])
}

shared if {
	not anywhere
	grants(input.object.acl_group_list[input.object.org_owner])
}

grants(actions) if {
	some action in actions
	action in {"*", input.action}
}
